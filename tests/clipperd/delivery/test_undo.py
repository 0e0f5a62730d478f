"""Undo removes exactly the blocks that the clip created, with their children."""

from __future__ import annotations

from typing import Any

import pytest

from clipperd.broker.reply import Reply
from clipperd.model import Position, Scope
from clipperd.notion.port import Call
from clipperd.outbox import actions, views
from clipperd.outbox.records import ClipView, Target
from tests.clipperd.delivery.rig import USER, Rig, at, blocks, paragraph
from tests.clipperd.memory_notion import MemoryNotion


def toggle(text: str, children: list[dict[str, Any]]) -> dict[str, Any]:
    runs = [{"type": "text", "text": {"content": text}}]
    return {
        "object": "block",
        "type": "toggle",
        "toggle": {"rich_text": runs, "children": children},
    }


def nested(depth: int) -> dict[str, Any]:
    item = paragraph("leaf")
    for level in range(depth):
        item = toggle(f"l{level}", [item])
    return item


async def undo(rig: Rig, clip: ClipView) -> tuple[str, list[str]]:
    """Take the clip back; its state after that, and why what was left was left."""
    await rig.act(clip, actions.request_undo)
    await rig.drain()
    view = await rig.view(clip)
    assert view.deliveries[0].undo is not None
    return view.state, [left["why"] for left in view.deliveries[0].undo["left"]]


async def test_undo_takes_back_what_nobody_changed_and_says_what_it_left(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.add(page, text="mine")
    clip = await rig.clip(page, blocks("a", "b", "c"))
    await rig.drain()
    world.edit_text(world.children[page][2], "b!")
    await rig.act(clip, actions.request_undo)
    await rig.drain()
    view = await rig.view(clip)
    assert world.texts(page) == ["mine", "b!"]
    undo = view.deliveries[0].undo
    assert undo is not None
    assert undo["left"] == [{"block_id": world.children[page][1], "why": "edited"}]
    assert (view.state, len(undo["removed"])) == ("delivered", 2)


async def test_a_complete_undo_closes_the_clip(rig: Rig, world: MemoryNotion, page: str) -> None:
    clip = await rig.clip(page, "a")
    await rig.drain()
    await rig.act(clip, actions.request_undo)
    await rig.drain()
    view = await rig.view(clip)
    assert (view.state, view.deliveries[0].reason) == ("canceled", "undone")
    assert world.texts(page) == []


@pytest.mark.parametrize(
    "content",
    [
        [nested(5), paragraph("next")],
        [toggle("t", [paragraph(f"c{i}") for i in range(230)])],
        [paragraph(f"p{i}") for i in range(150)],
    ],
    ids=["deep", "wide", "long"],
)
async def test_a_clip_of_several_chunks_is_taken_back_whole(
    rig: Rig, world: MemoryNotion, page: str, content: list[dict[str, Any]]
) -> None:
    clip = await rig.clip(page, {"format": "blocks", "blocks": content})
    await rig.drain()
    assert (await rig.view(clip)).deliveries[0].chunks_total > 1
    assert await undo(rig, clip) == ("canceled", [])
    assert world.texts(page) == []


@pytest.mark.parametrize("deep", [False, True])
async def test_a_tree_into_which_a_person_typed_stays(
    rig: Rig, world: MemoryNotion, page: str, deep: bool
) -> None:
    clip = await rig.clip(page, {"format": "blocks", "blocks": [nested(5)]})
    await rig.drain()
    parent = world.children[page][0]
    while deep and world.children[parent]:
        parent = world.children[parent][0]
    world.add(parent, text="mine")
    assert await undo(rig, clip) == ("delivered", ["children_edited"])


async def test_what_another_clip_put_inside_stays(rig: Rig, world: MemoryNotion, page: str) -> None:
    clip = await rig.clip(page, {"format": "blocks", "blocks": [toggle("t", [paragraph("a")])]})
    await rig.drain()
    inside = Position("inside", block_id=world.children[page][0])
    await rig.clip(page, "b", position=inside)
    await rig.drain()
    assert await undo(rig, clip) == ("delivered", ["children_edited"])
    assert world.texts(world.children[page][0]) == ["a", "b"]


async def test_a_new_page_that_holds_other_clips_stays(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    wanted = {"ref": "trip", "parent": {"page_id": page}, "title": "Trip"}
    clip = await rig.clip(content="x", targets=[Target(Position(), new_page=wanted)])
    other = await rig.clip(content="y", targets=[Target(Position(), page_ref="trip")])
    await rig.drain()
    assert await undo(rig, clip) == ("delivered", ["other_clips"])
    assert (await undo(rig, other))[0] == "canceled"


async def test_a_removal_that_notion_never_allows_does_not_hold_up_the_page(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, "x")
    await rig.drain()
    plain = world._execute

    def execute(method: str, path: str, raw: bytes) -> Reply:
        if method == "DELETE":
            return Reply(403, {"code": "restricted_resource"}, code="restricted_resource")
        return plain(method, path, raw)

    world._execute = execute  # type: ignore[method-assign]  # the capability is missing
    assert await undo(rig, clip) == ("delivered", ["denied"])
    behind = await rig.clip(page, "y")
    await rig.drain()
    assert (await rig.view(behind)).state == "delivered"


async def test_what_arrived_of_a_failed_clip_can_be_taken_back(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.poison = "p120"
    clip = await rig.clip(page, blocks(*[f"p{i}" for i in range(150)]))
    await rig.drain()
    view = await rig.view(clip)
    assert (view.state, view.deliveries[0].actions) == ("failed", ["retry", "undo"])
    assert await undo(rig, clip) == ("canceled", [])
    assert world.texts(page) == []


def typing_at_the_removal(world: MemoryNotion, block: str, *refusals: int) -> list[str]:
    """A person rewrites the block between our look and our removal; ``refusals`` meet the return.

    The list that is returned tells the writes.
    """
    plain, writes, left = world.send, list[str](), list(refusals)

    async def send(scope: Scope, call: Call) -> Reply:
        method = call.method
        if method != "GET":
            writes.append(method)
        if method == "DELETE" and call.path == f"blocks/{block}":
            world.edit_text(block, "typed at the last moment")
        if method == "PATCH" and left:
            return Reply(left.pop(0), {"message": "wait"}, code="rate_limited")
        return await plain(scope, call)

    world.send = send  # type: ignore[method-assign]  # the transport is the seam
    return writes


@pytest.mark.parametrize("refusals", [(), (429,), (500, 429)])
async def test_what_a_person_changed_at_the_last_moment_is_put_back(
    rig: Rig, world: MemoryNotion, page: str, refusals: tuple[int, ...]
) -> None:
    clip = await rig.clip(page, blocks("a", "b", "c"))
    await rig.drain()
    writes = typing_at_the_removal(world, world.children[page][1], *refusals)
    assert await undo(rig, clip) == ("delivered", ["edited"])
    assert world.texts(page) == ["typed at the last moment"]
    assert writes.count("DELETE") == 3


async def test_what_was_removed_in_haste_is_put_back_after_a_crash(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, "a")
    await rig.drain()
    block = world.children[page][0]
    typing_at_the_removal(world, block, *[429] * 9)
    await rig.act(clip, actions.request_undo)
    await rig.step(page)
    assert world.texts(page) == []
    world.send = type(world).send.__get__(world)  # type: ignore[method-assign]  # the seam, as it was
    await rig.crash()
    await rig.drain()
    assert world.texts(page) == ["typed at the last moment"]
    assert (await rig.view(clip)).state == "delivered"


async def test_what_a_person_changed_and_then_removed_stays_removed(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, "a")
    await rig.drain()
    block = world.children[page][0]
    world.edit_text(block, "changed")
    world.remove(block)
    assert await undo(rig, clip) == ("canceled", [])
    assert world.texts(page) == []


async def test_a_long_clip_that_is_stopped_says_how_far_it_came_and_is_undone(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at(None, "lost_before")
    clip = await rig.clip(page, blocks(*(f"p{number}" for number in range(350))))
    await rig.step(page)
    between = await rig.view(clip)
    assert (between.state, between.summary) == ("sending", {"sending": 1})
    assert (between.deliveries[0].chunks_done, between.deliveries[0].chunks_total) == (1, 4)
    for shown, listed in (("sending", 1), ("queued", 0)):
        chosen = views.Filter(states=[shown])
        found, _ = await rig.outbox.read(views.page, USER, chosen, limit=9, cursor=None)
        assert len(found) == listed
    counts = await rig.outbox.read(views.counts, USER)
    assert (counts["sending"], counts["queued"]) == (1, 0)
    assert between.deliveries[0].actions == ["cancel"]
    await rig.step(page)
    stopping = await rig.act(clip, actions.cancel)
    assert (stopping.state, stopping.stopping) == ("unconfirmed", True)
    assert stopping.deliveries[0].actions == []
    await rig.drain()
    stopped = await rig.view(clip)
    assert (stopped.state, stopped.stopping) == ("canceled", False)
    assert stopped.deliveries[0].chunks_done == 2
    assert stopped.deliveries[0].actions == ["undo", "open"]
    assert len(world.texts(page)) == 200
    await rig.act(clip, actions.request_undo)
    await rig.drain()
    assert world.texts(page) == []
    assert (await rig.view(clip)).deliveries[0].actions == []


async def test_a_long_clip_is_canceled_immediately_between_its_parts(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, blocks(*(f"p{number}" for number in range(350))))
    await rig.step(page)
    assert (await rig.act(clip, actions.cancel)).state == "canceled"
    later = await rig.clip(page, "later")
    await rig.drain()
    assert world.texts(page)[99:] == ["p99", "later"]
    assert (await rig.view(later)).state == "delivered"
