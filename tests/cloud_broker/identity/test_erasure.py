"""Erasure: the tests search the database's own bytes, as a thief would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.storage import audit
from cloud_broker.storage import push as push_rows
from cloud_broker.storage.database import Tx
from cloud_broker.storage.idempotency import Idempotency, KeyId, Lease
from cloud_broker.web.keys import ACCOUNTS
from tests.cloud_broker.broker_stage import (
    OTHER_WORKSPACE,
    WORKSPACE,
    BrokerStage,
    Person,
    a_broker,
)
from tests.cloud_broker.identity.connected_people import NEW, a_place
from tests.cloud_broker.push.push_listener import TOKEN, an_event, post, told
from tests.cloud_broker.storage.freeze import live
from tests.servers.broker_database import database_url
from tests.servers.postgres import Postgres

ADA = Person("c2f20311-9e54-4d11-8c79-7398424ae41e", "Ada Zebulon", "zebulon@example.org")
BOB = Person("d3f20311-0000-4d11-8c79-7398424ae41e", "Bob", "bob@example.org")
BOBS_WORKSPACE = "0b1f0c9e-3333-4a4a-8c8c-000000000003"
MANY = 150  # rows of each sort: enough for pages to be split and joined


class Stored:
    """The bytes of a database, as a copy of its files or a dump would have them."""

    def __init__(self, folder: Path, postgres: Postgres | None) -> None:
        self._folder = folder
        self._postgres = postgres

    def bytes(self) -> bytes:
        if self._postgres is not None:
            return self._postgres.dump(database_url(self._folder)).encode()
        return b"".join(file.read_bytes() for file in sorted(self._folder.glob("broker.db*")))

    def of(self, traces: dict[str, str]) -> set[str]:
        """Which of the traces are there, in any of the ways that an id is written."""
        content = self.bytes().lower()
        return {
            name
            for name, trace in traces.items()
            for form in {trace, trace.replace("-", "")}
            if form.lower().encode() in content
        }


@pytest.fixture
def stored(tmp_path: Path, kept_in: str, request: pytest.FixtureRequest) -> Stored:
    server = request.getfixturevalue("postgres") if kept_in == "postgres" else None
    return Stored(tmp_path, server)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as running:
        yield running


async def much(stage: BrokerStage, user_id: str, workspace_id: str, name: str) -> None:
    """Write many rows of an account, as years of use would."""
    rows = Idempotency(stage.database)
    for number in range(MANY):
        who = KeyId(user_id, workspace_id, f"{name}-{number}")
        await rows.claim(who, "print", Lease("owner", 0, 0), expires_at=2_000_000_000_000)
        event = audit.AuditEvent(
            0, "relayed", user_id, {}, {"workspace": workspace_id, "n": number}, "salt"
        )
        async with stage.database.transaction() as tx:
            await audit.append(tx, [event])


async def test_after_an_erasure_the_databases_bytes_hold_nothing_of_the_person(
    stage: BrokerStage, stored: Stored
) -> None:
    stage.notion.person = ADA
    known = await live(stage)
    last = await stage.sign_in(device="Zebulon laptop")
    sessions = await (await stage.get("/api/auth/sessions", last["access_token"])).json()
    stage.notion.person, stage.notion.workspace_name = BOB, "Bob's own"
    stage.notion.workspace_id = BOBS_WORKSPACE
    bob = (await stage.sign_in(device="Bob's phone"))["user"]["id"]
    await much(stage, known["user"], WORKSPACE, "ada")
    await much(stage, bob, BOBS_WORKSPACE, "bob")
    traces = {
        "account": known["user"],
        "Notion's user": ADA.id,
        "e-mail": ADA.email,
        "name": ADA.name,
        "workspace": WORKSPACE,
        "another workspace": OTHER_WORKSPACE,
        "workspace's name": "Lovelace",
        "bot": f"bot-of-{WORKSPACE}",
        "device": "Zebulon laptop",
        **{f"session {each['id']}": each["id"] for each in sessions["sessions"]},
    }
    secrets = {
        "access token": last["access_token"],
        "refresh token": last["refresh_token"],
        **{token: token for token in (*stage.notion.issued, *stage.notion.live_refresh)},
    }
    kept = {"Bob's account": bob, "Bob's address": BOB.email, "Bob's workspace": BOBS_WORKSPACE}
    all_of_it = {**traces, **secrets, **kept}
    stage.notion.revoke_status = 500  # what waits to be revoked is nobody's either
    assert stored.of(all_of_it) == {*traces, *kept}, "the search finds what is there"

    assert (await stage.delete("/api/user", last["access_token"])).status == 204
    assert stored.of(all_of_it) == set(kept)
    assert (await audit.verify(stage.database))[1] is None


async def waiting(tx: Tx) -> int:
    """Transactions of this PostgreSQL database that wait for a lock."""
    row = await tx.one(
        """SELECT count(*) AS n FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    )
    assert row is not None
    return int(row["n"])


async def test_an_event_that_enters_the_log_during_an_erasure_names_nobody_erased(
    stage: BrokerStage, stored: Stored, kept_in: str
) -> None:
    stage.notion.person = ADA
    ada = await stage.sign_in()
    assert await stage.app[ACCOUNTS].release_workspace(WORKSPACE)
    stage.notion.person = BOB
    await stage.sign_in()
    parties = [{"id": BOB.id, "type": "person"}, {"id": ADA.id, "type": "person"}]
    await post(stage, an_event(stage, accessible_by=parties))
    async with stage.database.transaction() as tx:
        await tx.lock(push_rows.LOG_LOCK)
        (row,) = await push_rows.pending(tx, 10)
        erasing = asyncio.ensure_future(stage.delete("/api/user", ada["access_token"]))
        while kept_in == "postgres" and not await waiting(tx):
            pass  # the erasure starts, and waits for this transaction
        seq = await push_rows.advance(tx, 1)
        await push_rows.append(tx, [{**row, "seq": seq, "at": 0}])
    assert (await erasing).status == 204
    assert stored.of({"ada": ADA.id, "bob": BOB.id}) == {"bob"}


async def test_a_disconnection_destroys_the_ciphertext_with_the_row(
    stage: BrokerStage, stored: Stored
) -> None:
    token = (await stage.sign_in())["access_token"]
    async with stage.database.reading() as tx:
        row = await tx.one(
            "SELECT access_token_sealed, refresh_token_sealed, wrapped_key FROM notion_connections"
        )
    assert row is not None
    sealed = {name: value.hex() for name, value in row.items()}

    def found() -> set[str]:
        content = stored.bytes()
        forms = {name: (value.encode(), bytes.fromhex(value)) for name, value in sealed.items()}
        return {name for name, form in forms.items() if any(each in content for each in form)}

    assert found() == set(sealed)
    stage.notion.revoke_status = 500
    assert (await stage.delete(f"/api/workspaces/{WORKSPACE}", token)).status == 204
    await stage.database.tidy()
    assert found() == set()


async def test_a_call_at_another_broker_that_ends_later_names_nobody(
    tmp_path: Path, stored: Stored
) -> None:
    async with a_place(tmp_path) as place, place.broker(NEW) as one, place.broker(NEW) as two:
        user = await place.connect(one, 1)
        await two.identity.tokens.open(user, None, "proxy:search")  # written within 0.2 s
        await Idempotency(two.database).claim(
            KeyId(user, WORKSPACE, "key"), "print", Lease("o", 0, 0), expires_at=2_000_000_000_000
        )
        await one.identity.accounts.erase(user)
        await Idempotency(two.database).claim(
            KeyId(user, WORKSPACE, "late"), "print", Lease("o", 0, 0), expires_at=2_000_000_000_000
        )
        await two.identity.audit.flush()
        await two.identity.accounts.sweep()  # once an hour
        assert stored.of({"account": user}) == set()
        assert (await audit.verify(one.database))[1] is None
        async with one.database.reading() as tx:
            rows = await tx.all("SELECT facts FROM audit_log WHERE event = 'token_opened'")
        assert [row["facts"] for row in rows].count('{"purpose":"proxy:search"}') == 1


async def test_who_stays_in_a_shared_workspace_keeps_its_events_without_the_other(
    stage: BrokerStage, stored: Stored
) -> None:
    stage.notion.person = ADA
    ada = await stage.sign_in()
    assert await stage.app[ACCOUNTS].release_workspace(WORKSPACE)
    stage.notion.person = BOB
    await stage.sign_in()
    parties = [{"id": BOB.id, "type": "person"}, {"id": ADA.id, "type": "person"}]
    await post(stage, an_event(stage, accessible_by=parties))
    await told(stage)
    assert stored.of({"ada": ADA.id}) == {"ada"}
    assert (await stage.delete("/api/user", ada["access_token"])).status == 204
    assert stored.of({"ada": ADA.id, "bob": BOB.id}) == {"bob"}
    async with stage.database.reading() as tx:
        rows = await tx.all("SELECT accessible_by FROM push_log")
    assert rows == [{"accessible_by": BOB.id}]
