"""Finding out by reading whether a write of unknown outcome was applied.

The rule (design of the write path, docs/state-machine.md): our run of blocks stands there, by
normalised content, order and count, made by our bot and not receipted already: it was applied.
No unreceipted block of our bot from that time stands there at all: it was not applied (once the
settle time is over). Anything between: only a person can tell.
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

_MINUTE = 60.0  # Notion rounds created_time down to the minute
_EARLY = 5.0  # clocks of broker and Notion may differ by this much
MOST_PAGES = 60  # 6,000 blocks; a longer parent is left to a person


class Found(msgspec.Struct, frozen=True):
    """The run stands on the page, with these ids."""

    ids: tuple[str, ...]


class Absent(msgspec.Struct, frozen=True):
    """No trace of it."""


class Undecided(msgspec.Struct, frozen=True):
    """Something stands there, but not clearly ours."""

    why: str


Finding: TypeAlias = Found | Absent | Undecided


def earliest(sent_at: float) -> float:
    """The earliest ``created_time`` (a whole minute) that a block of the request can bear."""
    floor: float = (sent_at - _EARLY) // _MINUTE * _MINUTE
    return floor


def suspects(
    listing: Sequence[Block], *, bot_id: str | None, sent_at: float, receipted: set[str]
) -> list[Block]:
    """Blocks that the request may have created: by our bot, young enough, not receipted.

    With an unknown ``bot_id`` every author is a suspect.
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
    """``suspected`` less the first run of blocks with these fingerprints, if it stands there."""
    prints = [fingerprint.of(block) for block in suspected]
    for at in range(len(prints) - len(run) + 1):
        if run and prints[at : at + len(run)] == list(run):
            return [*suspected[:at], *suspected[at + len(run) :]]
    return list(suspected)


class Others(msgspec.Struct, frozen=True):
    """What the account's other writes have made, as far as the broker knows.

    ``open``: one to the same parent may have made something that is not known. ``alike``: and ours
    may be a part of it. Both also when the broker has forgotten some.
    """

    created: frozenset[str]
    open: bool
    alike: bool


def others_of(found: Remembered, key: str, own_keys: Set[str]) -> Others:
    """Read the record of the account's writes for the request of ``key``."""
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
    """Look for a page called ``title`` among a parent's children or a query's rows."""
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


class Listing(msgspec.Struct):
    """What was read, how many calls it took, and the refusal that ended it, if any."""

    blocks: list[Block]
    calls: int
    refusal: Reply | None = None
    cut: bool = False


async def read_children(
    notion: Notion, scope: Scope, parent_id: str, *, start: str | None
) -> Listing:
    """List the parent's children from ``start`` (a child's id) on, or from the top.

    A child's id as ``start_cursor`` is today's cursor form, though undocumented: the listing must
    begin with that child, else it is read from the top. Raises what ``Notion.send`` raises.
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
            return Listing(blocks, calls, refusal=reply)
        blocks.extend(results)
        cursor = reply.body.get("next_cursor") if reply.body.get("has_more") else None
        if cursor is None:
            return Listing(blocks, calls)
    return Listing(blocks, calls, cut=True)


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
