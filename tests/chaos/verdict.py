"""Compares Notion's pages with the accepted clips: lost, doubled, misplaced, out of order.

It reads the pages only. It asks the daemon just for the clips that need attention, because those
may or may not be on the page. Blocks that people removed or moved do not count as faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from tests.chaos.script import AREAS, Piece
from tests.stack.notion import Block, flat, level_of, text_of


@dataclass
class Sent:
    """One target of an accepted clip. ``asked``: it waits for a person."""

    number: int
    piece: Piece
    texts: tuple[str, ...]
    content: dict[str, Any]
    state: str = "delivered"

    @property
    def asked(self) -> bool:
        """Whether it may stand on the page or not."""
        return self.state == "needs_attention"


@dataclass
class Count:
    """The figures of one run, or of many; blocks but for ``asked`` (deliveries)."""

    lost: int = 0
    doubled: int = 0
    misplaced: int = 0
    out_of_order: int = 0
    needs_attention: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        """Whether the promise was broken."""
        return bool(self.lost or self.doubled or self.misplaced or self.out_of_order)

    def add(self, other: Count) -> None:
        """Sum up."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def __str__(self) -> str:
        return (
            f"lost {self.lost} · doubled {self.doubled} · misplaced {self.misplaced} ·"
            f" out of order {self.out_of_order} · needs attention {self.needs_attention}"
        )


def areas(blocks: Sequence[Block]) -> dict[str, list[Block]]:
    """The page's parts: what stands before the headings, and under each of them."""
    found: dict[str, list[Block]] = {"top": [], "newest": [], "inbox": [], "end": []}
    names = {"Newest": "newest", "Inbox": "inbox", "Deep": "inbox", "Later": "end"}
    at = "top"
    for block in blocks:
        if level_of(block):
            at = names[text_of(block)]
        else:
            found[at].append(block)
    return found


def judge(
    page_id: str,
    blocks: Sequence[Block],
    sent: Sequence[Sent],
    is_others: Callable[[Block], bool],
    removed: Sequence[str] = (),
) -> Count:
    """Compare one page with the targets that went to it, in order of acceptance.

    ``is_others``: a block that stood there before, or that no clip of these made. ``removed``:
    texts of blocks that a person removed from where a clip had put them.
    """
    count = Count()
    mine = [item for item in sent if item.piece.page_id == page_id]
    count.needs_attention = sum(item.asked for item in mine)
    parts = {name: [b for b in part if not is_others(b)] for name, part in areas(blocks).items()}
    due: dict[str, list[Sent]] = {"top": [], "newest": [], "inbox": [], "end": []}
    for item in mine:
        due[AREAS[item.piece.place]].append(item)
    due["newest"].reverse()
    due["top"].reverse()
    _amounts(count, parts, due, Counter(removed))
    for name, part in parts.items():
        _order(count, name, [text_of(block) for block in part], due[name], set(removed))
    whole = [item for item in mine if not item.asked and not {*item.texts} & {*removed}]
    _inside(count, parts, whole)
    _contiguous(count, blocks, whole)
    return count


def _amounts(
    count: Count,
    parts: dict[str, list[Block]],
    due: dict[str, list[Sent]],
    removed: Counter[str],
) -> None:
    there = Counter(text_of(block) for part in parts.values() for block in part)
    sure = Counter(t for items in due.values() for s in items if not s.asked for t in s.texts)
    may = sure + Counter(t for items in due.values() for s in items if s.asked for t in s.texts)
    _note(count, "lost", (sure - there - removed).elements())
    _note(count, "doubled", (there - may).elements())
    spare: Counter[str] = Counter()
    for name, part in parts.items():
        here = Counter(text_of(block) for block in part)
        allowed = Counter(t for s in due[name] for t in s.texts)
        spare += here - allowed
    _note(count, "misplaced", (spare - (there - may)).elements())


def _order(count: Count, name: str, there: list[str], due: list[Sent], removed: set[str]) -> None:
    """Texts that are there and due, but not in the order of acceptance.

    A clip that waits for a person may be missing, as may what a person removed: its texts are
    left out on both sides, and the order of the rest is looked at.
    """
    open_texts = removed | {t for s in due if s.asked for t in s.texts}
    wanted = [t for s in due if not s.asked for t in s.texts if t not in open_texts]
    seen = [t for t in there if t not in open_texts]
    known, present = Counter(wanted), Counter(seen)
    wanted = _only(wanted, known & present)
    seen = _only(seen, known & present)
    moved = [(a, b) for a, b in zip(wanted, seen, strict=True) if a != b]
    if moved:
        count.out_of_order += len(moved)
        count.notes.append(f"out of order in {name}: {moved[:6]}")


def _only(texts: Iterable[str], allowed: Counter[str]) -> list[str]:
    left = Counter(allowed)
    kept = []
    for text in texts:
        if left[text]:
            left[text] -= 1
            kept.append(text)
    return kept


def _inside(count: Count, parts: dict[str, list[Block]], mine: Sequence[Sent]) -> None:
    """What hangs below the first level: whole, once, in order."""
    below: dict[str, list[str]] = {}
    for block in (block for part in parts.values() for block in part):
        below.setdefault(text_of(block), []).extend(text_of(b) for b in flat(block["children"]))
    for item in mine:
        if "blocks" not in item.content:
            continue
        for block in item.content["blocks"]:
            due = list(_texts_below(block))
            there = below.get(_own(block), [])
            if due and there != due:
                _note(count, "lost", (Counter(due) - Counter(there)).elements())
                _note(count, "doubled", (Counter(there) - Counter(due)).elements())
                if Counter(due) == Counter(there):
                    _note(count, "out_of_order", [_own(block)])


def _contiguous(count: Count, blocks: Sequence[Block], mine: Sequence[Sent]) -> None:
    """Nothing stands between the blocks of one clip, not even what a person typed meanwhile."""
    at = {text_of(block): place for place, block in enumerate(blocks)}
    for item in mine:
        places = [at[text] for text in item.texts if text in at]
        gaps = sum(b - a != 1 for a, b in pairwise(places))
        if gaps:
            _note(count, "misplaced", [f"split c{item.number}"] * gaps)


def _texts_below(block: Block) -> Iterable[str]:
    for child in block[block["type"]].get("children") or []:
        yield _own(child)
        yield from _texts_below(child)


def _own(block: Block) -> str:
    runs = block[block["type"]]["rich_text"]
    return "".join(run["text"]["content"] for run in runs)


def _note(count: Count, what: str, texts: Iterable[str]) -> None:
    found = list(texts)
    if found:
        setattr(count, what, getattr(count, what) + len(found))
        count.notes.append(f"{what}: {found[:6]}{' …' if len(found) > 6 else ''}")
