"""A short part of ``python -m tests.chaos``: two seeds, kills at any moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.real import SETTINGS, one_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.mark.parametrize("seed", [6, 12])
def test_kills_and_faults_lose_double_move_and_overtake_nothing(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    result = one_run(tmp_path, seed, 200, SETTINGS)
    record_property("table: kill -9 and faults during 200 clips", str(result))
    assert not result.count.wrong, result.count.notes
