"""The words that every part of the daemon shares: ids, scope, states, positions."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec

Block: TypeAlias = dict[str, Any]
"""A Notion block object in request or response shape; unknown keys pass through."""

_ID = re.compile(
    r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}", re.ASCII
)


def notion_id(text: str) -> str | None:
    """Return ``text`` as a dashed lower-case Notion id, or None when it is not one."""
    if not _ID.fullmatch(text):
        return None
    raw = text.replace("-", "").lower()
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


class Scope(msgspec.Struct, frozen=True):
    """Whose data: everything stored or sent carries it, and nothing crosses it."""

    user_id: str
    workspace_id: str


class State(StrEnum):
    """Where a delivery stands; docs/state-machine.md draws the transitions."""

    QUEUED = "queued"
    SENDING = "sending"
    RETRYING = "retrying"
    UNCONFIRMED = "unconfirmed"
    NEEDS_ATTENTION = "needs_attention"
    FAILED = "failed"
    CANCELED = "canceled"
    DELIVERED = "delivered"


PRECEDENCE: tuple[State, ...] = (
    State.NEEDS_ATTENTION,
    State.UNCONFIRMED,
    State.SENDING,
    State.RETRYING,
    State.QUEUED,
    State.FAILED,
    State.CANCELED,
    State.DELIVERED,
)
"""A clip's state is the first of these that any of its deliveries is in."""

FINISHED: frozenset[State] = frozenset({State.FAILED, State.CANCELED, State.DELIVERED})
"""Nothing more will happen by itself."""

REASONS: dict[str, str] = {
    "block_gone": "The block that names the place is no longer on the page.",
    "content_lost": "Its content was lost with a damaged file; put it in again, or cancel.",
    "content_refused": "Notion refuses this content; edit it.",
    "heading_ambiguous": "Several headings of the page match; name one by its id.",
    "heading_gone": "The heading that names the place is no longer on the page.",
    "new_page_given_up": "The new page that it was for was never created.",
    "no_access": "The connection may not write there; give it access in Notion.",
    "outcome_unknown": "It may be on the page already; look, then say so or send it again.",
    "page_gone": "The page is gone or no longer shared with the connection.",
    "page_trashed": "The page is in the trash.",
    "page_unknown": "The new page exists, but which it is could not be found out.",
    "parent_gone": "The place for the new page is gone or no longer shared.",
    "place_lost": "Where it was to go was lost with a damaged file; choose a page, or cancel.",
    "place_refused": "Notion kept refusing the place.",
    "undone": "It was taken back.",
    "workspace_full": "The workspace has used all of its free blocks.",
}
"""Why a delivery stopped, each with a sentence for a person. Clients may rely on the names."""

UNTRIABLE: frozenset[str] = frozenset({"outcome_unknown", "content_lost", "place_lost"})
"""Reasons that trying again does not mend: a person has to say something first."""

PositionType = Literal["end", "start", "after_heading", "end_of_section", "after_block", "inside"]


class PositionRule(msgspec.Struct, frozen=True):
    """The rules of one position type.

    ``names``: the kind of block that the position must name, or None. ``newest_first``: a later
    clip is inserted above the earlier ones; otherwise it is appended below them.
    """

    names: Literal["heading", "block"] | None = None
    newest_first: bool = False


POSITIONS: dict[PositionType, PositionRule] = {
    "end": PositionRule(),
    "start": PositionRule(newest_first=True),
    "after_heading": PositionRule(names="heading", newest_first=True),
    "end_of_section": PositionRule(names="heading"),
    "after_block": PositionRule(names="block", newest_first=True),
    "inside": PositionRule(names="block"),
}
"""A new type needs its name in PositionType, a row here, and a resolver in outline/positions.py."""


class Position(msgspec.Struct, frozen=True):
    """Where in a page a clip goes, as the client asked for it."""

    type: PositionType = "end"
    heading_id: str | None = None
    heading_text: str | None = None
    heading_path: tuple[str, ...] = ()
    block_id: str | None = None
    if_gone: Literal["ask", "end_of_page"] = "ask"
    headings: Literal["demote", "keep"] | None = None


class InsertionPoint(msgspec.Struct, frozen=True):
    """A position resolved against the page: what one append request needs.

    ``parent_id`` is the block or page that gets the children; ``after`` is the sibling to follow,
    or None for the ``edge`` of the parent. ``level`` is the level of the heading whose section it
    is (1-4), or 0 outside any named section: content headings are demoted below it.
    ``reads`` counts the Notion calls that resolving took.
    """

    parent_id: str
    after: str | None = None
    edge: Literal["end", "start"] = "end"
    level: int = 0
    reads: int = 0
    fell_back: str | None = None
