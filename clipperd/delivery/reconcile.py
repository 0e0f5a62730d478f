"""Determine by reading whether a write of unknown outcome was applied.

The rules (docs/state-machine.md):

- The page holds our run of blocks (normalised content, order, count), made by our bot and without
  receipts: it was applied.
- The page holds no block of our bot from that time without a receipt: it was not applied, once the
  settle time is over.
- Anything else: only the user can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeAlias

import msgspec

from clipperd.broker.reply import Reply
from clipperd.clock import from_rfc3339
from clipperd.content import fingerprint
from clipperd.model import Block, Scope
from clipperd.notion.port import Call, Notion, Remembered, Write

_MINUTE = 60.0  # seconds; Notion rounds created_time down to the minute
_EARLY = 5.0  # seconds; the clocks of broker and Notion may differ by this much
MOST_PAGES = 60  # 6,000 blocks; for a longer parent the user decides


class Found(msgspec.Struct, frozen=True):
    """The page holds the run, with these ids."""

    ids: tuple[str, ...]


class Absent(msgspec.Struct, frozen=True):
    """The page holds no trace of the write."""


class Undecided(msgspec.Struct, frozen=True):
    """The page holds blocks that may be ours."""

    why: str


Finding: TypeAlias = Found | Absent | Undecided


def earliest(sent_at: float) -> float:
    """Return the earliest ``created_time`` (a whole minute) of a block of the request."""
    floor: float = (sent_at - _EARLY) // _MINUTE * _MINUTE
    return floor


def suspects(
    listing: Sequence[Block], *, bot_id: str | None, sent_at: float, receipted: set[str]
) -> list[Block]:
    """Return the blocks that the request may have created: by our bot, recent, without receipts.

    If ``bot_id`` is unknown, every author is a suspect.
    """
    since = earliest(sent_at)
    return [
        block
        for block in listing
        if str(block.get("id")) not in receipted
        and (bot_id is None or author_of(block) == bot_id)
        and _created(block) >= since
    ]


def without(suspected: Sequence[Block], run: Sequence[str]) -> list[Block]:
    """Return ``suspected`` without the first run of blocks with these fingerprints, if any."""
    prints = [fingerprint.of(block) for block in suspected]
    for at in range(len(prints) - len(run) + 1):
        if run and prints[at : at + len(run)] == list(run):
            return [*suspected[:at], *suspected[at + len(run) :]]
    return list(suspected)


class Others(msgspec.Struct, frozen=True):
    """The blocks that the account's other writes created, as far as the broker knows.

    ``open``: a write to the same parent may have created unknown blocks. ``alike``: and our blocks
    may be part of them. Both are also true if the broker has forgotten writes.
    """

    created: frozenset[str]
    open: bool
    alike: bool


def others_of(found: Remembered, key: str, own_keys: Set[str]) -> Others:
    """Compare the record of the account's writes with the request of ``key``."""
    writes = found.writes
    mine = next((write for write in writes if write.key == key), None)
    others = [write for write in writes if write.key not in own_keys]
    created = frozenset(block for write in others for block in write.created or ())
    unknown = [
        write
        for write in others
        if write.created is None and (mine is None or write.address == mine.address)
    ]
    alike = any(mine is None or _says(mine) <= _says(write) for write in unknown)
    return Others(created, bool(unknown) or not found.whole, alike or not found.whole)


def _says(write: Write) -> set[str]:
    return set(write.content.split("-"))


def judge(expected: Sequence[str], suspected: Sequence[Block]) -> Finding:
    """Look for ``expected`` (fingerprints in order) among the suspects (in page order)."""
    if not suspected:
        return Absent()
    prints = [fingerprint.of(block) for block in suspected]
    width = len(expected)
    starts = [
        at for at in range(len(prints) - width + 1) if prints[at : at + width] == list(expected)
    ]
    if len(starts) == 1:
        run = suspected[starts[0] : starts[0] + width]
        return Found(tuple(str(block["id"]) for block in run))
    if starts:
        return Undecided("several_runs")
    return Undecided("other_blocks")


def judge_pages(
    title: str, children: Sequence[Block], *, bot_id: str | None, sent_at: float, known: set[str]
) -> Finding:
    """Look for a page with this title among a parent's children or a query's rows."""
    since = earliest(sent_at)
    matching = [
        child
        for child in children
        if _title(child) == title
        and str(child.get("id")) not in known
        and (bot_id is None or author_of(child) == bot_id)
        and _created(child) >= since
    ]
    if not matching:
        return Absent()
    if len(matching) == 1:
        return Found((str(matching[0]["id"]),))
    return Undecided("several_pages")


class ChildList(msgspec.Struct):
    """The blocks that were read, the calls made, and the refusal that ended the reading, if any."""

    blocks: list[Block]
    calls: int
    refusal: Reply | None = None
    cut: bool = False


async def read_children(
    notion: Notion, scope: Scope, parent_id: str, *, start: str | None
) -> ChildList:
    """List the parent's children from ``start`` (a child's id), or from the top.

    Notion accepts a child's id as ``start_cursor``, though undocumented: if the listing does not
    begin with that child, read from the top. Raises as ``Notion.send``.
    """
    path = f"blocks/{parent_id}/children"
    blocks: list[Block] = []
    cursor, calls = start, 0
    while calls < MOST_PAGES:
        query = {"page_size": "100"}
        if cursor is not None:
            query["start_cursor"] = cursor
        reply = await notion.send(scope, Call("GET", path, query=query))
        calls += 1
        results = _results(reply)
        lost = calls == 1 and start is not None and not _begins_with(results, start)
        if lost and (results is not None or reply.status in (400, 404)):
            from_top = await read_children(notion, scope, parent_id, start=None)
            from_top.calls += calls
            return from_top
        if results is None:
            return ChildList(blocks, calls, refusal=reply)
        blocks.extend(results)
        cursor = reply.body.get("next_cursor") if reply.body.get("has_more") else None
        if cursor is None:
            return ChildList(blocks, calls)
    return ChildList(blocks, calls, cut=True)


def _results(reply: Reply) -> list[Block] | None:
    if reply.ok and isinstance(reply.body, dict):
        results = reply.body.get("results")
        if isinstance(results, list):
            return results
    return None


def _begins_with(results: Sequence[Block] | None, block_id: str) -> bool:
    return bool(results) and results is not None and results[0].get("id") == block_id


def author_of(block: Mapping[str, Any]) -> str | None:
    """Return the id of the user or bot that created the block."""
    author = block.get("created_by") or {}
    return author.get("id") if isinstance(author, dict) else None


def _created(block: Mapping[str, Any]) -> float:
    try:
        return from_rfc3339(str(block.get("created_time")))
    except ValueError:
        return float("inf")


def _title(child: Mapping[str, Any]) -> str | None:
    if child.get("type") == "child_page":
        return str((child.get("child_page") or {}).get("title", ""))
    for value in (child.get("properties") or {}).values():
        if isinstance(value, dict) and value.get("type") == "title":
            return "".join(str(run.get("plain_text", "")) for run in value.get("title") or [])
    return None
