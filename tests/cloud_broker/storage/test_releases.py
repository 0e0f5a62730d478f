"""A database of an earlier release: migrated, and used afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import asyncpg
import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.storage import audit
from cloud_broker.storage.database import Database, Row
from cloud_broker.storage.idempotency import Idempotency, KeyId
from cloud_broker.storage.migrations import migrate, schema_status, steps
from tests.clocks import ManualClock
from tests.cloud_broker.broker_stage import WORKSPACE, a_broker
from tests.cloud_broker.push.push_listener import TOKEN, listening, told
from tests.cloud_broker.storage.freeze import BLOCK, FOLDER, WRITE
from tests.servers.broker_database import database_url, keep_in_postgres, open_kept, shape, tables
from tests.servers.postgres import Postgres

RELEASES = sorted({file.name.rsplit(".", 2)[0] for file in FOLDER.glob("*.sql")})
LEDGER = "schema_migrations"


async def left_by(release: str, kept_in: str, folder: Path) -> dict[str, str]:
    """Put a database as the release left it into ``folder``; return what its daemon knew."""
    text = (FOLDER / f"{release}.{kept_in}.sql").read_text()
    if kept_in == "sqlite":
        with sqlite3.connect(folder / "broker.db") as file:
            file.executescript(text)
        file.close()
    else:
        connection = await asyncpg.connect(database_url(folder))
        await connection.execute(text)
        await connection.close()
    head = [line[3:] for line in text.splitlines() if line.startswith("-- ")]
    return dict(line.split(": ", 1) for line in head)


async def rows_of(database: Database, columns: dict[str, list[str]]) -> dict[str, list[Row]]:
    """Every row, with the columns named."""
    found = {}
    async with database.reading() as tx:
        for table, names in columns.items():
            sql = f"SELECT {', '.join(names)} FROM {table}"
            found[table] = sorted(await tx.all(sql), key=lambda row: repr(list(row.values())))
    return found


async def columns_of(database: Database) -> dict[str, list[str]]:
    """The columns of each table, the ledger's aside."""
    found = {}
    async with database.reading() as tx:
        for table in await tables(database):
            row = await tx.one(f"SELECT * FROM {table}")
            assert row is not None, f"the release left no row in {table}"
            found[table] = list(row)
    return found


@pytest.mark.parametrize("release", RELEASES)
async def test_it_comes_to_the_schema_of_a_fresh_one_with_every_row_as_it_was(
    release: str, kept_in: str, tmp_path: Path, postgres: Postgres
) -> None:
    await left_by(release, kept_in, tmp_path)
    database = await open_kept(tmp_path)
    columns = await columns_of(database)
    before = await rows_of(database, columns)
    lacking = (await schema_status(database)).missing
    assert await migrate(database, ManualClock(0.001), contract=True) == len(lacking)
    after = await rows_of(database, columns)
    ledger = after.pop(LEDGER)
    assert [row for row in ledger if row["applied_at"] != 1] == before.pop(LEDGER)
    assert after == before

    aside = tmp_path / "fresh"
    aside.mkdir()
    url = postgres.fresh()
    if kept_in == "postgres":
        keep_in_postgres(aside, url)
    fresh = await open_kept(aside)
    assert await migrate(fresh, ManualClock(0.001)) == len(steps())
    assert await shape(database) == await shape(fresh)
    await fresh.close()
    await database.close()
    postgres.drop(url)


@pytest.mark.parametrize("release", RELEASES)
async def test_its_people_go_on_with_what_they_had(
    release: str, kept_in: str, tmp_path: Path
) -> None:
    known = await left_by(release, kept_in, tmp_path)
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as stage:
        refreshed = await stage.refresh(known["refresh_token"])
        assert refreshed.status == 200, await refreshed.text()
        access = (await refreshed.json())["access_token"]
        me = await (await stage.get("/api/user/me", access)).json()
        assert [workspace["id"] for workspace in me["workspaces"]] == [WORKSPACE]
        record = await Idempotency(stage.database).find(KeyId(known["user"], WORKSPACE, WRITE))
        assert record is not None
        assert record.created == (BLOCK,)
        async with listening(stage, access, last_id="0") as daemon:
            assert [(await daemon.next())[1].get("what") for _ in range(2)] == ["content", None]
            await told(stage)  # what waited when the earlier release stopped
            assert (await daemon.next())[1]["what"] == "properties"
        gone = await stage.delete(f"/api/workspaces/{WORKSPACE}", access)
        assert gone.status == 204, await gone.text()  # the sealed tokens open
        await stage.until(lambda: "ntn_canary_access_2" in stage.notion.revoked)
        count, misfit = await audit.verify(stage.database)
        assert misfit is None
        assert count > 5


@pytest.mark.parametrize("release", RELEASES)
async def test_many_that_bring_it_up_to_date_at_once_apply_each_step_once(
    release: str, kept_in: str, tmp_path: Path
) -> None:
    await left_by(release, kept_in, tmp_path)
    databases = [await open_kept(tmp_path) for _ in range(4)]
    lacking = (await schema_status(databases[0])).missing
    clock = SystemClock()
    applied = await asyncio.gather(*(migrate(each, clock) for each in databases))
    assert sum(applied) == len(lacking) > 0
    assert (await schema_status(databases[0])).missing == ()
    for each in databases:
        await each.close()


@pytest.mark.parametrize("release", RELEASES)
async def test_a_look_at_it_changes_nothing(
    release: str, kept_in: str, tmp_path: Path, postgres: Postgres
) -> None:
    await left_by(release, kept_in, tmp_path)
    opened = await open_kept(tmp_path)  # its file is one with a write-ahead log from here on
    await opened.close()

    def content() -> bytes:
        if kept_in == "postgres":
            return postgres.dump(database_url(tmp_path)).encode()
        return (tmp_path / "broker.db").read_bytes()

    before = content()
    database = await open_kept(tmp_path)
    assert (await schema_status(database)).missing != ()
    await database.close()
    assert content() == before
