"""Migrations: once each, in order, never edited; the previous release's columns stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.errors import (
    DatabaseFailed,
    SchemaChanged,
    SchemaOutdated,
    SchemaTooNew,
)
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import check, migrate, schema_status, steps
from cloud_broker.storage.steps import Contract, Step
from tests.servers.broker_database import open_kept
from tests.servers.broker_database import tables as tables_of

ONE = "CREATE TABLE one (id TEXT)"
TWO = "CREATE TABLE two (id TEXT, raw {blob})"
GROWN = "ALTER TABLE one ADD COLUMN n BIGINT NOT NULL DEFAULT 0"
GONE = Contract("ALTER TABLE one DROP COLUMN n")


def the(*statements: str | Contract) -> list[Step]:
    """The steps of a release."""
    return steps([("a", statements)])


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_kept(tmp_path)
    yield opened
    await opened.close()


@asynccontextmanager
async def another(folder: Path) -> AsyncIterator[Database]:
    opened = await open_kept(folder)
    yield opened
    await opened.close()


async def tables(database: Database) -> set[str]:
    return set(await tables_of(database))


async def test_every_step_is_applied_once(database: Database) -> None:
    assert await migrate(database, SystemClock()) == len(steps())
    assert await migrate(database, SystemClock()) == 0
    await check(database)
    assert {"user_profiles", "notion_connections", "workspace_history", "subscriptions"} <= (
        await tables(database)
    )


async def test_several_brokers_may_start_at_once(tmp_path: Path, database: Database) -> None:
    clock = SystemClock()
    async with another(tmp_path) as one, another(tmp_path) as two:
        applied = await asyncio.gather(*(migrate(d, clock) for d in (database, one, two)))
    assert sorted(applied) == [0, 0, len(steps())]


async def test_a_new_step_is_added_to_what_is_there(database: Database) -> None:
    await migrate(database, SystemClock(), wanted=the(ONE))
    with pytest.raises(SchemaOutdated, match="a/002, a/003"):
        await check(database, wanted=the(ONE, GROWN, TWO))
    assert await migrate(database, SystemClock(), wanted=the(ONE, GROWN, TWO)) == 2
    await check(database, wanted=the(ONE, GROWN, TWO))


async def test_a_fresh_database_gets_all_or_nothing(database: Database) -> None:
    with pytest.raises(DatabaseFailed, match="a/002"):
        await migrate(database, SystemClock(), wanted=the(ONE, "CREATE TABLE ("))
    assert await tables(database) == set()


async def test_what_failed_is_undone_and_the_next_try_goes_on_from_there(
    database: Database,
) -> None:
    await migrate(database, SystemClock(), wanted=the(ONE))
    with pytest.raises(DatabaseFailed, match="a/003"):
        await migrate(database, SystemClock(), wanted=the(ONE, TWO, "CREATE TABLE ("))
    assert await migrate(database, SystemClock(), wanted=the(ONE, TWO, GROWN)) == 1


async def test_an_earlier_release_works_on_with_what_a_later_one_added(
    database: Database,
) -> None:
    await migrate(database, SystemClock(), wanted=the(ONE, GROWN, TWO))
    assert await migrate(database, SystemClock(), wanted=the(ONE)) == 0
    found = await check(database, wanted=the(ONE))
    assert found.later == ("a/002", "a/003")
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO one (id) VALUES ('of the earlier release')")


async def test_a_step_that_takes_something_away_waits_to_be_asked_for(database: Database) -> None:
    await migrate(database, SystemClock(), wanted=the(ONE, GROWN))
    assert (
        await migrate(database, SystemClock(), wanted=the(ONE, GROWN, GONE, TWO)) == 1
    )  # the last
    found = await check(database, wanted=the(ONE, GROWN, GONE, TWO))
    assert [step.name for step in found.missing] == ["a/003"]
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO one (id, n) VALUES ('a', 1)")
    assert (
        await migrate(database, SystemClock(), wanted=the(ONE, GROWN, GONE, TWO), contract=True)
        == 1
    )
    with pytest.raises(DatabaseFailed):
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO one (id, n) VALUES ('b', 1)")


async def test_an_earlier_release_stays_away_from_where_something_was_taken_away(
    database: Database,
) -> None:
    await migrate(database, SystemClock(), wanted=the(ONE, GROWN, GONE), contract=True)
    for look in (
        migrate(database, SystemClock(), wanted=the(ONE, GROWN)),
        check(database, wanted=the(ONE, GROWN)),
    ):
        with pytest.raises(SchemaTooNew, match="a/003") as refused:
            await look
        assert "later version" in (refused.value.hint or "")


async def test_a_fresh_database_has_nothing_to_wait_for(database: Database) -> None:
    assert await migrate(database, SystemClock(), wanted=the(ONE, GROWN, GONE)) == 4
    assert (await check(database, wanted=the(ONE, GROWN, GONE))).missing == ()


async def test_an_edited_step_is_found(database: Database) -> None:
    await migrate(database, SystemClock(), wanted=the(ONE))
    with pytest.raises(SchemaChanged, match="a/001"):
        await migrate(database, SystemClock(), wanted=the("CREATE TABLE one (id TEXT, x TEXT)"))
    with pytest.raises(SchemaChanged, match="a/001"):
        await check(database, wanted=the("CREATE TABLE one (id TEXT, x TEXT)"))


async def test_white_space_is_no_edit(database: Database) -> None:
    await migrate(database, SystemClock(), wanted=the(ONE))
    assert await migrate(database, SystemClock(), wanted=the(f"\n  {ONE}\n")) == 0


async def test_a_look_at_an_empty_database_leaves_it_empty(database: Database) -> None:
    found = await schema_status(database)
    assert list(found.missing) == steps()
    with pytest.raises(SchemaOutdated):
        await check(database)
    assert await tables(database) == set()
