"""PostgreSQL only: table locks, and statements that can be cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.errors import DatabaseBusy, DatabaseFailed
from cloud_broker.storage import migrations
from cloud_broker.storage.database import Database, Tx
from cloud_broker.storage.migrations import check, migrate, steps
from cloud_broker.storage.steps import Area
from tests.cloud_broker.broker_stage import a_broker
from tests.servers.broker_database import database_url, keep_in_postgres, open_kept

BEFORE: list[Area] = [("s", ["CREATE TABLE one (id TEXT)"])]
AFTER: list[Area] = [("s", [*BEFORE[0][1], "ALTER TABLE one ADD COLUMN n BIGINT"])]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    one, two = await open_kept(tmp_path), await open_kept(tmp_path)
    yield one, two
    await one.close()
    await two.close()


class Waiting:
    """A clock that does something each time somebody sleeps, and then is later."""

    def __init__(self, database: Database, blocker: Tx | None = None) -> None:
        self.at = 0.0
        self.pauses = 0
        self._database = database
        self._blocker = blocker

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.pauses += 1
        async with self._database.transaction() as tx:  # whoever queued behind it comes through
            await tx.execute("INSERT INTO one (id) VALUES (:id)", id=str(self.at))
        if self._blocker is not None and self.pauses == 2:
            await self._blocker.execute("ROLLBACK")


async def test_a_step_that_waits_for_a_lock_lets_traffic_through_and_is_tried_again(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = pair
    await migrate(database, SystemClock(), wanted=steps(BEFORE))
    monkeypatch.setattr(migrations, "AREAS", AFTER)
    monkeypatch.setattr(migrations, "LOCK_S", 0.2)
    monkeypatch.setattr(migrations, "PATIENCE_S", 3 * migrations.PAUSE_S)
    async with other.transaction() as reader:
        await reader.all("SELECT id FROM one")  # and stays open: nobody may alter the table
        clock = Waiting(database)
        with pytest.raises(DatabaseBusy, match="s/002"):
            await migrate(database, clock)
        assert clock.pauses == 3
        assert await migrate(database, Waiting(database, reader)) == 1
    await check(database)


async def test_a_statement_that_takes_too_long_is_given_up(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = pair
    await migrate(database, SystemClock(), wanted=steps(BEFORE))
    monkeypatch.setattr(migrations, "STATEMENT_S", 0.2)
    with pytest.raises(DatabaseFailed, match="s/002"):
        await migrate(
            database, SystemClock(), wanted=steps([("s", [*BEFORE[0][1], "SELECT pg_sleep(30)"])])
        )
    monkeypatch.undo()
    assert await migrate(database, SystemClock(), wanted=steps(AFTER)) == 1


async def test_a_broker_that_may_not_change_the_schema_starts_on_one_that_is_up_to_date(
    tmp_path: Path,
) -> None:
    owner, url = await open_kept(tmp_path), database_url(tmp_path)
    role = f"serving_{url.rsplit('_', 1)[1]}"
    await migrate(owner, SystemClock())
    async with owner.transaction() as tx:
        await tx.execute(f"CREATE ROLE {role} LOGIN")
        await tx.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        )
    keep_in_postgres(tmp_path, url.replace("postgres@", f"{role}@"))
    async with a_broker(tmp_path) as broker:
        assert (await broker.sign_in())["user"]
    async with owner.transaction() as tx:
        await tx.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await owner.close()
