"""Windows and buckets, by property."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.limits.gcra import (
    Bucket,
    Window,
    bucket_spend,
    bucket_start,
    to_us,
    window_spend,
    window_start,
)

gaps = st.lists(st.integers(0, to_us(40)), max_size=60)


@given(gaps=gaps, limit=st.integers(1, 5), delays=st.lists(st.integers(0, to_us(20)), min_size=60))
def test_no_span_ever_holds_more_starts_than_the_limit(
    gaps: list[int], limit: int, delays: list[int]
) -> None:
    rule, now, log, starts = Window(limit), 0, list[int](), list[int]()
    for gap, delay in zip(gaps, delays, strict=False):
        now += gap
        start = window_start(log, rule, now) + delay  # another rule may ask for more
        window_spend(log, rule, start)
        starts.append(start)
    starts.sort()
    for first, last in zip(starts, starts[limit:], strict=False):
        assert last - first >= rule.span_us


@given(gaps=gaps, burst=st.integers(1, 8), rate=st.floats(0.5, 10))
def test_a_bucket_never_gives_more_than_burst_and_rate(
    gaps: list[int], burst: int, rate: float
) -> None:
    rule, now, full_at, starts = Bucket(rate, burst), 0, 0, list[int]()
    for gap in gaps:
        now += gap
        start = bucket_start(full_at, rule, now)
        full_at = bucket_spend(full_at, rule, start)
        starts.append(start)
    for i, first in enumerate(starts):
        for count, last in enumerate(starts[i:], 1):
            assert count <= burst + (last - first) / rule.interval_us


def test_a_burst_of_six_is_six_at_once() -> None:
    rule, full_at = Bucket(2.5, 6), 0
    starts = []
    for _ in range(8):
        start = bucket_start(full_at, rule, 0)
        full_at = bucket_spend(full_at, rule, start)
        starts.append(start)
    assert starts == [0, 0, 0, 0, 0, 0, 400_000, 800_000]
