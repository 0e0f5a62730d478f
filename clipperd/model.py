"""Defines the types that every part of the daemon shares: ids, scope, states, positions."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

Block: TypeAlias = Annotated[
    dict[str, Any],
    msgspec.Meta(
        title="Block",
        extra_json_schema={
            "properties": {"type": {"type": "string"}},
            "additionalProperties": True,
        },
    ),
]
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
    """The user and workspace that data belongs to; every row and request carries them."""

    user_id: str
    workspace_id: str


class State(StrEnum):
    """The state of a delivery; docs/state-machine.md draws the transitions."""

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
"""A clip has the first of these states that any of its deliveries has."""

OPEN: tuple[State, ...] = (
    State.QUEUED,
    State.SENDING,
    State.RETRYING,
    State.UNCONFIRMED,
    State.NEEDS_ATTENTION,
)
"""Something is left to do, for the daemon or for the user."""

WAITING: tuple[State, ...] = OPEN[:-1]
"""The daemon still has something to do."""

READY: tuple[State, ...] = (State.QUEUED, State.RETRYING)
"""The next request may carry it."""

UNDER_WAY: tuple[State, ...] = (State.SENDING, State.UNCONFIRMED)
"""A request is out, or its outcome is being found out."""

FINISHED: frozenset[State] = frozenset({State.FAILED, State.CANCELED, State.DELIVERED})
"""Final states: the daemon does nothing more."""

REASONS: dict[str, str] = {
    "block_gone": "That block is gone from the page. Choose another position.",
    "content_lost": "A damaged file lost the content. Add it again, or cancel the clip.",
    "content_refused": "Notion refused the content. Edit it and try again.",
    "heading_ambiguous": "Several headings of the page match. Name one by its id.",
    "heading_gone": "That heading is gone from the page. Choose another position.",
    "new_page_given_up": "The new page for this clip was never created. Choose another page.",
    "no_access": "The connection may not write there. Give it access in Notion, then try again.",
    "outcome_unknown": "It may be on the page already. Look, then confirm it or send it again.",
    "page_gone": "The page is gone or no longer shared. Share it, or choose another page.",
    "page_trashed": "The page is in Notion's trash. Restore it there, or choose another page.",
    "page_unknown": "Notion created the new page, but its id is unknown. Choose the page.",
    "parent_gone": "The new page's parent is gone or no longer shared. Share it and try again.",
    "place_lost": "A damaged file lost the destination. Choose a page, or cancel the clip.",
    "place_refused": "Notion refused the position several times. Choose another position.",
    "undone": "The clip was undone.",
    "workspace_full": "The workspace has no free blocks left. Free some or upgrade, then retry.",
}
"""Why a delivery stopped: stable names, each with a sentence for the user."""

NotionObject: TypeAlias = Annotated[
    dict[str, Any],
    msgspec.Meta(
        title="NotionObject",
        extra_json_schema={
            "properties": {"type": {"type": "string"}},
            "additionalProperties": True,
        },
    ),
]
"""An icon, a parent or another object of Notion's API; unknown keys pass through."""
StateName: TypeAlias = Annotated[
    str, msgspec.Meta(title="State", extra_json_schema={"enum": [*State]})
]
ReasonName: TypeAlias = Annotated[
    str, msgspec.Meta(title="Reason", extra_json_schema={"enum": sorted(REASONS)})
]

UNTRIABLE: frozenset[str] = frozenset({"outcome_unknown", "content_lost", "place_lost"})
"""Reasons that a retry cannot resolve: the user must decide first."""

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
    """The position in a page that the client asked for."""

    type: PositionType = "end"
    heading_id: str | None = None
    heading_text: str | None = None
    heading_path: tuple[str, ...] = ()
    block_id: str | None = None
    if_gone: Literal["ask", "end_of_page"] = "ask"
    headings: Literal["demote", "keep"] | None = None


class InsertionPoint(msgspec.Struct, frozen=True):
    """A position resolved against the page, ready for one append request.

    ``parent_id``: the block or page that gets the children. ``after``: the sibling to follow, or
    None for the ``edge`` of the parent. ``level``: the level (1-4) of the heading that the section
    belongs to, or 0 outside a named section; content headings are demoted below it. ``reads``: the
    Notion calls that resolving took. ``fell_back``: the reason for using the end of the page.
    """

    parent_id: str
    after: str | None = None
    edge: Literal["end", "start"] = "end"
    level: int = 0
    reads: int = 0
    fell_back: str | None = None
