"""``python -m tests.cloud_broker.storage.freeze NAME``: stores today's schema with rows, for ever.

Run it once at each release. test_releases.py migrates every file in ``schemas`` and uses its
accounts afterwards. The clock stands at the start of the tests' clock; each file begins with the
secrets that those users' daemons had.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from pathlib import Path

from cloud_broker.cluster.instances import Instances
from cloud_broker.randomness import SystemRandomness
from cloud_broker.storage.idempotency import Idempotency, KeyId, Lease
from cloud_broker.storage.outboxes import OutboxMark
from tests.cloud_broker.broker_stage import OTHER_WORKSPACE, WORKSPACE, BrokerStage, a_broker
from tests.cloud_broker.push.push_listener import TOKEN, an_event, listening, post, told
from tests.servers.broker_database import database_url, keep_in_postgres, tables
from tests.servers.postgres import a_postgres

FOLDER = Path(__file__).parent / "schemas"
WRITE = "0199aaaa-0000-7000-8000-000000000001"
BLOCK = "3a1f0c9e-0000-4a4a-8c8c-0000000000bb"
KEPT_MS = 86_400_000


async def live(stage: BrokerStage) -> dict[str, str]:
    """Leave rows in every table; return what a daemon and an operator remember of it."""
    stage.notion.workspace_id = OTHER_WORKSPACE
    first = await stage.sign_in()
    stage.notion.revoke_status = 500  # so the grant that is given up waits to be revoked
    gone = await stage.delete(f"/api/workspaces/{OTHER_WORKSPACE}", first["access_token"])
    assert gone.status == 204
    stage.notion.workspace_id = WORKSPACE
    kept = await stage.sign_in()
    refreshed = await (await stage.refresh(kept["refresh_token"])).json()
    assert (await stage.begin_sign_in()).status == 302
    async with listening(stage, refreshed["access_token"]) as daemon:
        assert (await daemon.next())[0] == "ready"
        await post(stage, an_event(stage))
        await told(stage)
        assert (await daemon.next())[0] == "page"
    await post(stage, an_event(stage, type="page.properties_updated"))  # and this one waits
    user = kept["user"]["id"]
    rows, who, now = Idempotency(stage.database), KeyId(user, WORKSPACE, WRITE), _now_ms(stage)
    lease, mark = Lease("o", now, now), OutboxMark("outbox", "run", 1, 1)
    assert await rows.claim(who, "print", lease, now + KEPT_MS, mark) is None
    await rows.done(who, "o", 200, [BLOCK])
    await Instances(stage.database, stage.clock, SystemRandomness()).count()
    return {"user": user, "refresh_token": str(refreshed["refresh_token"])}


def _now_ms(stage: BrokerStage) -> int:
    return int(stage.clock.now() * 1000)


async def _freeze(folder: Path) -> dict[str, str]:
    async with a_broker(folder, BROKER_WEBHOOK_TOKEN=TOKEN) as stage:
        known = await live(stage)
        for table in await tables(stage.database):
            async with stage.database.reading() as tx:
                assert await tx.one(f"SELECT 1 AS one FROM {table}"), f"no row in {table}"
    return known


def _sqlite(folder: Path) -> str:
    with sqlite3.connect(folder / "broker.db") as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    return text


def main(name: str) -> None:
    """Write ``NAME.sqlite.sql`` and ``NAME.postgres.sql``."""
    with tempfile.TemporaryDirectory() as text, a_postgres() as server:
        for kind in ("sqlite", "postgres"):
            folder = Path(text) / kind
            folder.mkdir()
            if kind == "postgres":
                keep_in_postgres(folder, server.fresh())
            known = asyncio.run(_freeze(folder))
            is_file = kind == "sqlite"
            dump = _sqlite(folder) if is_file else server.dump(database_url(folder))
            head = "".join(f"-- {key}: {value}\n" for key, value in known.items())
            (FOLDER / f"{name}.{kind}.sql").write_text(head + dump + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
