"""Batches: neighbouring clips for one place, up to each of Notion's limits."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from clipperd.delivery.batch import choose
from clipperd.model import Position, State
from clipperd.outbox.records import QueuedDelivery

ONE = QueuedDelivery(
    seq=1,
    clip_seq=1,
    clip_id="clip",
    edition=1,
    queue_position=1,
    page_id="page",
    page_ref=None,
    new_page=None,
    position=Position(),
    state=State.QUEUED,
    priority=1,
    demotable=True,
    first_level=1,
    elements=1,
    body_bytes=100,
    chunks=1,
    chunks_done=0,
    chunk_ids=(),
    parent_id=None,
    level=0,
    batch_cap=100,
    anchor_losses=0,
)
THERE = Position("after_block", block_id="there")


def line(*changes: dict[str, Any]) -> list[QueuedDelivery]:
    return [replace(ONE, seq=number, **change) for number, change in enumerate(changes)]


@pytest.mark.parametrize(
    ("size", "together"),
    [
        ({"first_level": 1}, 100),
        ({"first_level": 2}, 50),
        ({"first_level": 34}, 2),
        ({"elements": 100}, 10),
        ({"elements": 101}, 9),
        ({"body_bytes": 45_000}, 10),
        ({"body_bytes": 45_001}, 9),
        ({"first_level": 100}, 1),
    ],
)
def test_neighbours_travel_together_up_to_each_limit(size: dict[str, int], together: int) -> None:
    assert len(choose(line(*[size] * 120), parked="skip")) == together


@pytest.mark.parametrize(
    ("behind", "parked", "chosen"),
    [
        ([{}, {"position": THERE}, {}], "skip", [0, 1]),  # in order, so not past another place
        ([{}, {"chunks": 3}, {}], "skip", [0, 1]),  # a long one goes alone
        ([{}, {"new_page": {"title": "New"}}, {}], "skip", [0, 1]),
        ([{}, {"state": State.RETRYING}], "skip", [0, 1, 2]),
        ([{}, {"state": State.UNCONFIRMED}, {}], "skip", [0, 1]),
        ([{}, {"state": State.NEEDS_ATTENTION}, {}], "skip", [0, 1, 3]),
        ([{}, {"state": State.NEEDS_ATTENTION}, {}], "wait", [0, 1]),
        ([{"batch_cap": 2}, {}], "skip", [0, 1]),
        ([{"batch_cap": 1}, {}], "skip", [0]),
    ],
)
def test_what_travels_along_stands_next_in_line_for_the_same_place(
    behind: list[dict[str, Any]], parked: str, chosen: list[int]
) -> None:
    assert [item.seq for item in choose(line({}, *behind), parked=parked)] == chosen


@pytest.mark.parametrize(
    ("head", "parked", "chosen"),
    [
        ({"chunks": 3}, "skip", [0]),
        ({"chunks": 3, "chunks_done": 1}, "skip", [0]),
        ({"new_page": {"title": "New"}}, "skip", [0]),
        ({"state": State.SENDING}, "skip", []),
        ({"state": State.UNCONFIRMED}, "skip", []),
        ({"state": State.NEEDS_ATTENTION}, "wait", []),
        ({"state": State.NEEDS_ATTENTION}, "skip", [1]),
    ],
)
def test_the_head_of_a_line_goes_first_or_holds_it(
    head: dict[str, Any], parked: str, chosen: list[int]
) -> None:
    assert [item.seq for item in choose(line(head, {}), parked=parked)] == chosen
