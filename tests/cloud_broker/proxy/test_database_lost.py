"""The database fails after a write was sent: success stays success."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_broker.storage.database import Database
from tests.cloud_broker.proxy.proxy_stage import a_proxy


async def _refuse_done(database: Database, *, refuse: bool) -> None:
    is_sqlite = database.blob_type == "BLOB"
    on = "BEFORE UPDATE OF state ON idempotency"
    made = (
        [f"CREATE TRIGGER refused {on} BEGIN SELECT RAISE(ABORT, 'full'); END"]
        if is_sqlite
        else [
            "CREATE OR REPLACE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'full' USING ERRCODE = '53100'; END $$",
            f"CREATE TRIGGER refused {on} FOR EACH ROW EXECUTE FUNCTION refused()",
        ]
    )
    dropped = "DROP TRIGGER refused" + ("" if is_sqlite else " ON idempotency")
    async with database.transaction() as tx:
        for statement in made if refuse else [dropped]:
            await tx.execute(statement)


async def test_an_outcome_that_could_not_be_stored_is_stored_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_proxy(tmp_path) as proxy:
        key = proxy.key()
        await _refuse_done(proxy.database, refuse=True)
        assert (await proxy.append(key)).status == 200  # success stays success
        assert "was not stored yet" in caplog.text
        await _refuse_done(proxy.database, refuse=False)
        while (answer := await proxy.append(key)).status == 409:
            await proxy.clock.sleep(0.5)
        assert (answer.status, answer.headers["Idempotency-Replayed"]) == (200, "true")
        assert len(proxy.upstream.seen) == 1
