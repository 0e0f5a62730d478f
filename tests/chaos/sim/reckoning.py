"""Compares the pages at the end of a day with the answers that the apps got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from clipperd.outbox.records import ClipView
from cloud_broker.sandbox.model import Block as Node
from cloud_broker.sandbox.model import Page as Leaf
from tests.chaos.sim.notion import Notion
from tests.chaos.sim.people import Deeds
from tests.chaos.verdict import Count, Sent, judge
from tests.stack.notion import Block, level_of, text_of


@dataclass
class NewPage:
    """A page that a clip was to create, and the clips that were to follow into it, in order."""

    ref: str
    title: str
    texts: tuple[str, ...]
    clip_id: str
    followers: list[tuple[str, str]] = field(default_factory=list)
    """Text and clip id of each."""


def reckon(notion: Notion, daemon: str, deeds: Deeds, sent: Sequence[Sent]) -> Count:
    """Judge the people's pages for the clips of one daemon."""
    count = Count()
    for page in notion.pages:
        blocks, removed = _as_made(notion, page.id, daemon, deeds)
        count.add(judge(page.id, blocks, sent, _is_others, removed))
    return count


def reckon_new(
    notion: Notion, daemon: str, wanted: Sequence[NewPage], views: dict[str, ClipView]
) -> Count:
    """Judge the pages that the clips of one daemon have created; nobody else writes there."""
    count = Count()
    there = Counter(
        notion.world.title_of(node)
        for node in notion.world.nodes.values()
        if isinstance(node, Leaf) and not node.trashed and notion.made_by.get(node.id) == daemon
    )
    sure: Counter[str] = Counter()
    maybe: Counter[str] = Counter()
    for each in wanted:
        delivery = views[each.clip_id].deliveries[0]
        count.needs_attention += delivery.state == "needs_attention"
        (maybe if delivery.page_id is None else sure)[each.title] += 1
        if delivery.page_id is not None:
            count.add(_inside(notion, each, delivery.page_id, views))
    _note(count, "lost", list((sure - there).elements()))
    _note(count, "doubled", list((there - sure - maybe).elements()))
    return count


def _inside(notion: Notion, made: NewPage, page_id: str, views: dict[str, ClipView]) -> Count:
    count = Count()
    blocks = [notion.world.nodes[each] for each in notion.page(page_id).children]
    there = [text_of(notion.shown(n)) for n in blocks if isinstance(n, Node) and not n.trashed]
    due: list[str] = []
    asked: Counter[str] = Counter()
    for texts, clip_id in ((made.texts, made.clip_id), *(((t,), c) for t, c in made.followers)):
        state = views[clip_id].deliveries[0].state
        if clip_id != made.clip_id:
            count.needs_attention += state == "needs_attention"
        if state == "needs_attention":
            asked.update(texts)
        else:
            due += texts
    _note(count, "lost", list((Counter(due) - Counter(there)).elements()))
    _note(count, "doubled", list((Counter(there) - Counter(due) - asked).elements()))
    if not asked and Counter(due) == Counter(there) and due != there:
        _note(count, "out_of_order", [made.title])
    return count


def _note(count: Count, what: str, found: list[str]) -> None:
    if found:
        setattr(count, what, getattr(count, what) + len(found))
        count.notes.append(f"new page, {what}: {found[:6]}")


def _as_made(
    notion: Notion, page_id: str, daemon: str, deeds: Deeds
) -> tuple[list[Block], list[str]]:
    """The page as this daemon's clips made it: people's deeds undone, others' texts masked.

    What another daemon wrote is left out: it may have looked just before this one's next part
    came, and Notion has no way to say "only if nothing has changed". Also the texts of this
    daemon's blocks that people removed.
    """
    blocks: list[Block] = []
    removed: list[str] = []
    for each in notion.page(page_id).children:
        node = notion.world.nodes[each]
        maker = notion.made_by.get(each, daemon)
        is_mine = notion.made_by.get(each) == daemon
        if not isinstance(node, Node) or (node.trashed and not is_mine):
            continue
        if maker.rstrip("+") != daemon:
            continue
        if each in deeds.before:
            node.body = deeds.before[each]
        view = notion.shown(node)
        if node.trashed:
            if each in deeds.removed:
                removed.append(text_of(view))
            continue
        if not is_mine and not level_of(view):
            view[node.type] = {"rich_text": [{"plain_text": f"other {each}"}]}
        blocks.append(view)
    return blocks, removed


def _is_others(block: Block) -> bool:
    return text_of(block).startswith("other ")
