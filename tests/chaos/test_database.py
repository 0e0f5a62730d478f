"""One round of every trouble with PostgreSQL; ``make chaos ARGS=database`` plays more."""

from __future__ import annotations

import pytest

from tests.chaos.database import TROUBLES, failovers


@pytest.mark.e2e
@pytest.mark.timeout(240)
async def test_a_database_that_ends_connections_or_fails_over_costs_no_write_and_no_truth() -> None:
    found = await failovers(1, 1, print)
    assert set(found.troubles) == set(TROUBLES)
    assert found.wrong == [], str(found)
    assert found.answers["200"] > 0
