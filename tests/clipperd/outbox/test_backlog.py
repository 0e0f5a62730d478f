"""The backlog estimates the requests that the queue then sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.model import Position
from clipperd.outbox import actions, backlog
from clipperd.outbox.records import Target
from tests.clipperd.delivery.rig import USER, Rig, paragraph
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clocks import SkippingClock


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = SkippingClock()
    rig = Rig(tmp_path, MemoryNotion(clock), clock)
    yield rig
    rig.close()


def blocks(count: int) -> dict[str, Any]:
    return {"format": "blocks", "blocks": [paragraph(f"{n}") for n in range(count)]}


async def needed(rig: Rig) -> dict[str, int]:
    loads = await rig.outbox.read(lambda c: backlog.loads(c, USER))
    return {page: requests for (_, _, page), requests in loads.items()}


async def together(rig: Rig, page: str) -> None:
    for _ in range(130):
        await rig.clip(page)


async def two_places_by_turns(rig: Rig, page: str) -> None:
    place = Position("after_block", block_id=rig.world.add(page, text="here"))
    for number in range(8):
        await rig.clip(page, position=place if number % 4 < 2 else None)


async def a_long_one_between(rig: Rig, page: str) -> None:
    await rig.clip(page)
    await rig.clip(page, blocks(250))
    await rig.clip(page)


async def more_blocks_than_one_request_takes(rig: Rig, page: str) -> None:
    for _ in range(4):
        await rig.clip(page, blocks(50))


async def one_that_goes_alone(rig: Rig, page: str) -> None:
    for _ in range(30):
        await rig.clip(page)
    await rig.outbox.write(lambda c: c.execute("UPDATE delivery SET batch_cap = 1 WHERE seq = 7"))


async def a_new_page_with_a_long_text(rig: Rig, page: str) -> None:
    wanted = {"ref": "trip", "parent": {"page_id": page}, "title": "Trip"}
    await rig.clip(content=blocks(250), targets=[Target(Position(), new_page=wanted)])
    await rig.clip(targets=[Target(Position(), page_ref="trip")])


@pytest.mark.parametrize(
    ("line", "requests"),
    [
        (together, 2),
        (two_places_by_turns, 4),
        (a_long_one_between, 5),
        (more_blocks_than_one_request_takes, 2),
        (one_that_goes_alone, 3),
        (a_new_page_with_a_long_text, 5),
    ],
)
async def test_it_counts_the_requests_that_are_then_sent(
    rig: Rig, line: Any, requests: int
) -> None:
    await line(rig, rig.world.add_page("Notes"))
    counted = await needed(rig)
    await rig.drain()
    assert sum(counted.values()) == len(rig.world.writes) == requests
    assert await needed(rig) == {}


async def test_what_is_put_off_or_waits_for_a_person_is_not_counted(rig: Rig) -> None:
    open_, held = rig.world.add_page("Open"), rig.world.add_page("Held")
    await rig.clip(open_, not_before=rig.clock.now() + 60)
    gone = Position("after_block", block_id=rig.world.new_id())
    await rig.clip(held, position=gone)
    await rig.drain()
    await rig.clip(held)
    assert await needed(rig) == {held: 1}
    lane = (USER, SCOPE.workspace_id, held)
    await rig.outbox.write(lambda c: actions.set_parked(c, lane, "wait"))
    assert await needed(rig) == {}


async def test_a_very_long_line_is_judged_by_the_pages_that_come_first(rig: Rig) -> None:
    pages = [rig.world.add_page(f"Page {number}") for number in range(20)]
    everywhere = [Target(Position(), page_id=pages[n % 20]) for n in range(4000)]
    await rig.clip(targets=everywhere)
    assert sum((await needed(rig)).values()) == 40
    await rig.clip(targets=everywhere, not_before=rig.clock.now() + 3600)
    assert sum((await needed(rig)).values()) == 40
