"""The parser cuts a stream of bytes into events, at any boundary between chunks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipperd.broker.sse import FRAME_BYTES, Frame, FrameParser

STREAM = b': beat\n\nid: 7\nevent: page\ndata: {"a":1}\n\nevent: gap\r\ndata: {}\r\n\r\ndata: rest'
EVENTS = [Frame("page", '{"a":1}', "7"), Frame("gap", "{}", None)]


def test_events_and_comments_are_distinguished() -> None:
    assert FrameParser().feed(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    frames = FrameParser()
    places = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[a:b] for a, b in itertools.pairwise(places)]
    assert [frame for part in parts for frame in frames.feed(part)] == EVENTS


def test_an_event_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        FrameParser().feed(b"data: " + b"x" * FRAME_BYTES)
