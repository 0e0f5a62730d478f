"""Times as clients send them."""

from __future__ import annotations

import pytest

from clipperd.clock import from_rfc3339, rfc3339


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:45", "9999-12-31T23:59:59-05:00"])
def test_a_time_beyond_the_ends_of_the_calendar_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="outside the years"):
        from_rfc3339(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.000Z"])
def test_the_ends_of_the_calendar_themselves_pass(text: str) -> None:
    assert rfc3339(from_rfc3339(text)) == text
