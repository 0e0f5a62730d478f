"""Four processes ask one Redis as fast as they can: no rule is exceeded or withheld."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.servers.redis import a_redis

pytestmark = pytest.mark.e2e

PROCESSES = 4
SECONDS = 3.0
RATE, BURST = 5.0, 10
LIMIT, SPAN_S = 12, 1.0

WIDE = 40
CASES = {
    "bucket": [("b", RATE, BURST)],
    "window": [("w", LIMIT, SPAN_S)],
    "both": [("w", LIMIT, SPAN_S), ("b", 0.001, WIDE)],  # a bucket that does not fill again
}
Interval = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """When which case was let through, and for how long all asked."""

    starts: dict[str, list[Interval]]
    lasted: float

    def most_within(self, case: str, span_s: float) -> int:
        """The most starts that certainly fell within one span: asked and answered inside it."""
        starts = self.starts[case]
        return max(
            sum(1 for before, after in starts if before >= first and after <= first + span_s)
            for first, _ in starts
        )


@pytest.fixture(scope="module")
def run() -> Run:
    with a_redis() as server:
        argv = [sys.executable, "-m", "tests.scale.asker", server.url, str(SECONDS)]
        told = _together([*argv, json.dumps(list(CASES.values()))])
    assert [each["lost"] for each in told] == [0] * PROCESSES
    starts = {
        case: sorted((b, a) for each in told for b, a in each["starts"][number])
        for number, case in enumerate(CASES)
    }
    begun, ended = zip(*(each["asked"] for each in told), strict=True)
    refused = [sum(many) for many in zip(*(each["refused"] for each in told), strict=True)]
    assert min(refused) > 100  # or there was nothing to hold
    return Run(starts, max(ended) - min(begun))


def _together(argv: list[str]) -> list[dict[str, Any]]:
    """Start the processes, let them begin at once, and return what each has written."""
    with ExitStack() as stack:
        running = []
        for _ in range(PROCESSES):
            child = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
            stack.callback(child.wait)
            stack.callback(child.kill)
            running.append(child)
        for child in running:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in running:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        return [json.loads(child.communicate()[0]) for child in running]


def test_a_bucket_holds_for_all_together_and_a_refusal_costs_nothing(run: Run) -> None:
    for span_s in (0.5, 1.0, 2.0, run.lasted):
        assert run.most_within("bucket", span_s) <= BURST + RATE * span_s + 1e-6
    assert len(run.starts["bucket"]) >= BURST + RATE * run.lasted - 5


def test_a_window_holds_in_any_span_for_all_together(run: Run) -> None:
    assert run.most_within("window", SPAN_S) <= LIMIT
    assert len(run.starts["window"]) >= LIMIT * int(run.lasted / (1.5 * SPAN_S))


def test_rules_that_are_decided_together_spend_all_or_nothing(run: Run) -> None:
    assert run.most_within("both", SPAN_S) <= LIMIT
    # If refusals by the window cost anything, the bucket would be empty after the first span.
    assert 2 * LIMIT <= len(run.starts["both"]) <= WIDE
