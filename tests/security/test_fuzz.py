"""Ten thousand generated requests to a whole broker: only calls in the table reach Notion.

More of them: ``python -m tests.security.fuzz --seed 7 --count 1000000``. A failure names the
command that sends its one request again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_broker.proxy.routes import ROUTES
from tests.security.fuzz.fuzz_run import a_scene
from tests.security.fuzz.grammar import case

COUNT = 5_000


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_sent_reaches_notion_through_the_table_only(
    tmp_path: Path, seed: int
) -> None:
    async with a_scene(tmp_path) as scene:
        report = await scene.run(seed, range(COUNT))
    assert not report.faults, "\n".join(report.faults[:20])
    assert report.sent == COUNT
    # It must try both: what passes, by every row, and what does not.
    sent_as_two = {"databases.query"}
    assert set(report.rows) == {route.name for route in ROUTES} - sent_as_two
    assert min(report.rows.values()) >= 10
    assert sum(n for status, n in report.statuses.items() if status >= 400) > COUNT / 2
    assert {0, 200, 400, 401, 403, 404, 405, 413, 417, 422} <= set(report.statuses)


def test_a_case_is_made_again_from_its_seed_and_number() -> None:
    doors = [("GET", "/healthz")]
    assert [case(3, n, doors) for n in range(50)] == [case(3, n, doors) for n in range(50)]
    assert case(3, 7, doors) != case(4, 7, doors)
    assert "--seed 3 --only 7" in case(3, 7, doors).replay()
