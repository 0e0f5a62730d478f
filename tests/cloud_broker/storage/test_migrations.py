"""Migrations: once each, in order, all or nothing, never edited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.errors import DatabaseFailed, SchemaChanged, SchemaOutdated, SchemaTooNew
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import Step, check, migrate, steps
from tests.servers.kept import open_kept
from tests.servers.kept import tables as tables_of

FIRST = Step("a/001", "CREATE TABLE one (id TEXT)")
SECOND = Step("a/002", "CREATE TABLE two (id TEXT, raw {blob})")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_kept(tmp_path)
    yield opened
    await opened.close()


async def tables(database: Database) -> set[str]:
    return set(await tables_of(database))


async def test_every_step_is_applied_once(database: Database) -> None:
    assert await migrate(database, now=0) == len(steps())
    assert await migrate(database, now=0) == 0
    await check(database)
    assert {"user_profiles", "notion_connections", "workspace_history", "subscriptions"} <= (
        await tables(database)
    )


async def test_two_brokers_may_start_at_once(tmp_path: Path, database: Database) -> None:
    other = await open_kept(tmp_path)
    try:
        applied = await asyncio.gather(migrate(database, now=0), migrate(other, now=0))
    finally:
        await other.close()
    assert sorted(applied) == [0, len(steps())]


async def test_a_new_step_is_added_to_what_is_there(database: Database) -> None:
    await migrate(database, now=0, wanted=[FIRST])
    with pytest.raises(SchemaOutdated, match="a/002"):
        await check(database, wanted=[FIRST, SECOND])
    assert await migrate(database, now=0, wanted=[FIRST, SECOND]) == 1


async def test_a_step_that_fails_leaves_nothing(database: Database) -> None:
    broken = Step("a/003", "CREATE TABLE (")
    with pytest.raises(DatabaseFailed):
        await migrate(database, now=0, wanted=[FIRST, broken])
    assert "one" not in await tables(database)


async def test_a_newer_database_is_not_touched(database: Database) -> None:
    await migrate(database, now=0, wanted=[FIRST, SECOND])
    with pytest.raises(SchemaTooNew, match="a/002"):
        await migrate(database, now=0, wanted=[FIRST])


async def test_an_edited_step_is_found(database: Database) -> None:
    await migrate(database, now=0, wanted=[FIRST])
    with pytest.raises(SchemaChanged):
        await migrate(database, now=0, wanted=[Step("a/001", "CREATE TABLE one (id TEXT, x TEXT)")])


async def test_white_space_is_no_edit(database: Database) -> None:
    await migrate(database, now=0, wanted=[FIRST])
    assert await migrate(database, now=0, wanted=[Step("a/001", f"\n  {FIRST.sql}\n")]) == 0
