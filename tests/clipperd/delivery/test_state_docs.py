"""docs/state-machine.md against the code: states, verdicts, and exactly its transitions."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from clipperd.broker.reply import Reply
from clipperd.delivery import outcome, reconcile
from clipperd.model import PRECEDENCE, REASONS, InsertionPoint, Position, Scope, State
from clipperd.notion.port import Call
from clipperd.outbox import actions
from clipperd.outbox.records import ClipView
from tests.clipperd.delivery.rig import Rig, at, paragraph
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clipperd.outbox import transitions
from tests.clipperd.outbox.transitions import DOCS, PAGE

VERDICTS = sorted(kind.__name__ for kind in get_args(outcome.Verdict))
FINDINGS = sorted(kind.__name__ for kind in get_args(reconcile.Finding))


def first_cells() -> set[str]:
    """The names in the first column of the page's tables."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+)", PAGE, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("name", [*State, *VERDICTS, *FINDINGS, *REASONS])
def test_the_page_explains(name: str) -> None:
    assert name in first_cells()


def test_the_order_of_precedence_is_the_codes() -> None:
    assert ", ".join(PRECEDENCE) in " ".join(PAGE.split())


def test_the_drawing_has_the_arrows_of_the_diagram() -> None:
    drawing = (DOCS / "img" / "state-machine.svg").read_text("utf-8")
    moves = " ".join(re.findall(r'data-moves="([^"]+)"', drawing)).split()
    assert sorted(moves) == sorted(f"{old}-{new}" for old, new in transitions.drawn())


class Life:
    """What can become of deliveries, each on a page of its own."""

    def __init__(self, rig: Rig, world: MemoryNotion) -> None:
        self.rig, self.world = rig, world

    async def clip(self, text: str = "x", blocks: int = 1, place: Any = "end") -> ClipView:
        self.page = self.world.add_page("Notes")
        content = {"format": "blocks", "blocks": [paragraph(text) for _ in range(blocks)]}
        self.anchor = self.world.add(self.page, "heading_2", "Inbox")
        heading = None if place == "end" else self.anchor
        return await self.rig.clip(self.page, content, position=Position(place, heading_id=heading))

    async def faulty(self, *faults: str | None, **more: Any) -> ClipView:
        """One step under a fault."""
        self.world.fault = at(*faults)
        clip = await self.clip(**more)
        await self.rig.step(self.page)
        return clip

    async def parked(self) -> ClipView:
        clip = await self.clip(place="end_of_section")
        self.world.remove(self.anchor)
        await self.rig.step(self.page)
        return clip

    async def failed(self, blocks: int = 1) -> ClipView:
        self.world.poison = None if blocks > 1 else "x"
        clip = await self.clip(blocks=blocks)
        await self.rig.step(self.page)
        self.world.poison = "x"
        await self.rig.drain()
        self.world.poison = None
        return clip

    async def stopped(self) -> None:
        """Cancel a long clip while its first part is on the wire."""
        clip = await self.clip(blocks=150)
        plain = self.world.send

        async def send(scope: Scope, call: Call) -> Reply:
            self.world.send = plain  # type: ignore[method-assign]  # the transport is the seam
            await self.rig.act(clip, actions.cancel)
            return await plain(scope, call)

        self.world.send = send  # type: ignore[method-assign]  # the transport is the seam
        await self.rig.drain()

    async def by_itself(self) -> None:
        await self.clip(blocks=150)
        await self.rig.drain()
        for fault in ("429", "lost_before", "unknown_absent", "unknown_applied"):
            await self.faulty(fault)
            await self.rig.drain()
        await self.parked()
        await self.faulty("429", place="after_heading")
        self.world.remove(self.anchor)
        await self.rig.places.record_refusal(
            SCOPE, self.page, InsertionPoint(self.page, self.anchor)
        )
        await self.rig.drain()

    async def refused(self) -> None:
        await self.failed()
        await self.clip()
        self.world.pages.pop(self.page)
        await self.rig.drain()
        self.world.poison = "x"
        await self.faulty("lost_before")
        await self.rig.drain()
        self.world.poison = None

    async def by_a_person(self) -> None:
        rig, act = self.rig, self.rig.act
        await act(await self.clip(), actions.cancel)
        await act(await self.faulty("429"), actions.cancel)
        await act(await self.parked(), actions.cancel)
        await act(await self.faulty("lost_before", blocks=150), actions.cancel)
        await rig.drain()
        await self.stopped()
        await act(await self.faulty("429"), actions.retry)
        await act(await self.failed(), actions.retry)
        await act(await self.parked(), actions.retry)
        clip = await self.faulty("unknown_applied")
        self.world.edit_text(self.world.children[self.page][-1], "edited")
        await rig.drain()
        await act(clip, actions.resolve, "delivered")
        for clip in (await self.faulty(None), await self.failed(blocks=150)):
            await act(clip, actions.request_undo)
            await rig.drain()


async def test_the_diagram_has_exactly_the_transitions_that_are_made(
    rig: Rig, world: MemoryNotion
) -> None:
    await rig.outbox.write(transitions.watch)
    life = Life(rig, world)
    await life.by_itself()
    await life.refused()
    await life.by_a_person()
    assert await rig.outbox.write(transitions.made) == transitions.drawn()
