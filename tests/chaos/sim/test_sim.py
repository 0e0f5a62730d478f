"""A fixed part of ``python -m tests.chaos sim``: nothing lost, doubled, misplaced, overtaken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.chaos.sim import many

CLIPS = 60


@pytest.mark.parametrize("seed", [4, 6, 13, 18, 25])
def test_a_bad_day_loses_doubles_moves_and_overtakes_nothing(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    (outcome,) = many.runs(seed, 1, CLIPS)
    record_property(
        "table: simulated days of hazards",
        f"seed {seed}: {outcome.clips} clips, {outcome.hours:.1f} h; {outcome.count};"
        f" {outcome.asked} of {outcome.unknown} unknown outcomes left to a person",
    )
    assert not outcome.wrong, (outcome.count.notes, outcome.errors)


def test_a_seed_replays_to_the_letter_in_another_process() -> None:
    (outcome,) = many.runs(6, 1, 30)
    options = ["--runs", "1", "--seed", "6", "--clips", "30", "--trace"]
    again = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "sim", *options],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"trace {outcome.digest}" in again.stdout
    assert "accepted c30" in again.stdout


def test_another_seed_is_another_day() -> None:
    first, second = many.runs(1, 2, 10)
    assert first.digest != second.digest
