"""The audit chain and the metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cloud_broker import audit
from cloud_broker.errors import DatabaseFailed
from cloud_broker.monitoring.metrics import Counter, Histogram
from cloud_broker.storage import audit as rows
from cloud_broker.storage.database import Database
from tests.cloud_broker.proxy.proxy_stage import (
    PAGE,
    WORKSPACE,
    ProxyStage,
    QuickClock,
    a_database,
    an_audit,
    says,
)


async def written(proxy: ProxyStage) -> list[dict[str, Any]]:
    await proxy.audit.flush()
    async with proxy.database.reading() as tx:
        return await rows.of_user(tx, "ada")


async def test_each_call_leaves_a_row_of_ids_and_numbers(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(503), says(200, {"object": "page"}, x_notion_request_id="r9")]
    await proxy.call("GET", f"pages/{PAGE}")
    (row,) = await written(proxy)
    assert row["event"] == "relayed"
    facts = row["facts"]
    assert facts.pop("latency_ms") >= 0
    assert facts == {
        "route": "pages.get",
        "decision": "2xx",
        "attempts": 2,
        "verdict": "done",
        "upstream_status": 200,
        "upstream_request_id": "r9",
    }
    assert row["subject"]["workspace"] == WORKSPACE
    assert row["subject"]["object"] == PAGE


async def test_a_refused_call_leaves_a_row_too(proxy: ProxyStage) -> None:
    await proxy.append(proxy.key(age_s=25 * 3600))
    (row,) = await written(proxy)
    assert row["facts"]["decision"] == "idempotency_key_expired"


async def _three(database: Database) -> None:
    log = an_audit(database, QuickClock())
    for user in ("user-ada", "user-bob", "user-ada"):
        log.record("opened", user, facts={"n": 1}, subject={"connection": "c"})
    await log.flush()


async def test_the_chain_holds_across_groups(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        await _three(database)
        await _three(database)
        assert await rows.verify(database) == (6, None)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_log SET facts = '{}' WHERE seq = 2",
        "UPDATE audit_log SET user_id = 'eve' WHERE seq = 2",
        "UPDATE audit_log SET subject = '{}' WHERE seq = 2",
        "UPDATE audit_log SET at = at + 1 WHERE seq = 2",
        "DELETE FROM audit_log WHERE seq = 2",
    ],
)
async def test_a_changed_or_missing_row_is_found(tmp_path: Path, tampering: str) -> None:
    async with a_database(tmp_path) as database:
        await _three(database)
        async with database.transaction() as tx:
            await tx.execute(tampering)
        assert await rows.verify(database) == (1, 2)


async def test_a_person_can_be_erased_and_the_chain_still_holds(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        await _three(database)
        async with database.transaction() as tx:
            assert await rows.erase(tx, "user-ada") == 2
            assert await rows.of_user(tx, "user-ada") == []
            assert "user-ada" not in str(await tx.all("SELECT * FROM audit_log"))
        assert await rows.verify(database) == (3, None)


async def test_rows_wait_for_a_database_that_failed(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        async with database.transaction() as tx:
            await tx.execute("ALTER TABLE audit_log RENAME TO away")
        log = an_audit(database, QuickClock())
        log.record("opened", "ada", facts={}, subject={})
        with pytest.raises(DatabaseFailed):
            await log.flush()
        async with database.transaction() as tx:
            await tx.execute("ALTER TABLE away RENAME TO audit_log")
        await log.flush()
        assert await rows.verify(database) == (1, None)


async def test_an_opening_that_cannot_be_written_down_does_not_happen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_database(tmp_path) as database:
        witness = an_audit(database, QuickClock())
        row = {"id": "c", "user_id": "ada", "workspace_id": "w"}
        await witness.opened(connection=row, purpose="refresh")
        assert await rows.verify(database) == (1, None)  # at once: a kill loses nothing
        monkeypatch.setattr(audit, "MAX_WAITING", 1)
        await witness.opened(connection=row, purpose="proxy:search")
        with pytest.raises(DatabaseFailed):
            await witness.opened(connection=row, purpose="proxy:search")
        assert witness.lost == 1


async def test_once_rows_could_not_be_written_no_token_is_opened_until_they_are(
    tmp_path: Path,
) -> None:
    async with a_database(tmp_path) as database:
        witness = an_audit(database, QuickClock())
        row = {"id": "c", "user_id": "ada", "workspace_id": "w"}
        async with database.transaction() as tx:
            await tx.execute("ALTER TABLE audit_log RENAME TO away")
        await witness.opened(connection=row, purpose="proxy:search")  # nobody can know yet
        with pytest.raises(DatabaseFailed):
            await witness.flush()
        for _ in range(3):
            with pytest.raises(DatabaseFailed):
                await witness.opened(connection=row, purpose="proxy:search")
        async with database.transaction() as tx:
            await tx.execute("ALTER TABLE away RENAME TO audit_log")
        await witness.opened(connection=row, purpose="proxy:search")
        await witness.flush()
        assert await rows.verify(database) == (2, None)


async def test_a_call_that_ends_after_the_erasure_names_nobody(proxy: ProxyStage) -> None:
    proxy.gone.add("mira")
    await proxy.call("GET", f"pages/{PAGE}", user="mira")
    await proxy.audit.flush()
    async with proxy.database.reading() as tx:
        stored = await tx.all("SELECT user_id, subject, facts FROM audit_log")
    assert len(stored) == 1
    assert (stored[0]["user_id"], stored[0]["subject"]) == ("", "{}")
    assert WORKSPACE not in str(stored)


async def test_two_writers_make_one_chain(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        await asyncio.gather(*(_three(database) for _ in range(10)))
        assert await rows.verify(database) == (30, None)


async def test_metrics_count_by_route_and_hold_no_id(proxy: ProxyStage) -> None:
    await proxy.call("GET", f"pages/{PAGE}")
    await proxy.call("GET", "comments")
    text = await (await proxy.client.get("/metrics")).text()
    assert 'broker_proxy_requests_total{route="pages.get",outcome="2xx"} 1' in text
    assert 'broker_upstream_requests_total{route="pages.get",status="2xx"} 1' in text
    assert PAGE not in text
    assert "ada" not in text


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram("h_seconds", "Help.", ("route",), bounds=(0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7):
        histogram.observe(seconds, "a")
    lines = histogram.render()
    assert 'h_seconds_bucket{route="a",le="0.1"} 2' in lines
    assert 'h_seconds_bucket{route="a",le="1"} 3' in lines
    assert 'h_seconds_bucket{route="a",le="+Inf"} 4' in lines
    assert 'h_seconds_count{route="a"} 4' in lines


def test_a_label_is_escaped() -> None:
    counter = Counter("c_total", "Help.", ("what",))
    counter.add('a"b\\c\n')
    assert counter.render()[-1] == 'c_total{what="a\\"b\\\\c\\n"} 1'
