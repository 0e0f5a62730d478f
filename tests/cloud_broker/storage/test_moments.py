"""A moment stays equal when it is stored and read again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.clock import rfc3339
from cloud_broker.storage.database import to_ms


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_stored_moment_is_told_as_it_was_before(microseconds: int) -> None:
    moment = microseconds / 1_000_000
    assert rfc3339(to_ms(moment) / 1000) == rfc3339(moment)


def test_a_millisecond_is_not_lost_to_its_fraction() -> None:
    assert to_ms(1_795_558_767.091) == 1_795_558_767_091
