"""What an answer to a write means. One table, no I/O; docs/state-machine.md shows it.

The question is never "did it succeed" alone, but "can it have been applied". Only an answer that
proves that nothing was applied frees the request; an unknown outcome is replayed under the same
key (the broker remembers) or settled by reading the page.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from clipperd.broker.reply import Reply


class Applied(msgspec.Struct, frozen=True):
    """Notion has it; ``ids`` are the created first-level blocks in request order, or the page."""

    ids: tuple[str, ...]


class NotApplied(msgspec.Struct, frozen=True):
    """Nothing was applied: try again after ``wait_s`` (None: back off).

    ``pause`` names what else waits: "route", "user", "connection", or None for this lane only.
    ``burned`` says whether it counts as an attempt; ``proven`` that even an earlier send of the
    same request is ruled out: the page itself was read, or the broker has closed the key.
    """

    wait_s: float | None
    pause: str | None
    burned: bool
    code: str
    message: str
    proven: bool = False


class AnchorLost(msgspec.Struct, frozen=True):
    """Notion refused the place; nothing was applied. Look again where it is."""

    message: str


class Refused(msgspec.Struct, frozen=True):
    """Notion refused the content; nothing was applied. Find the poisoned clip; give up on it.

    ``block`` is the first-level block that the message names, if it names one.
    """

    code: str
    message: str
    block: int | None = None


class Attention(msgspec.Struct, frozen=True):
    """Only a person can mend it (no access, page gone, workspace full)."""

    reason: str
    code: str
    message: str


class Replay(msgspec.Struct, frozen=True):
    """The broker has or will have the outcome: send the same bytes under the same key again."""

    wait_s: float | None


class Unknown(msgspec.Struct, frozen=True):
    """It may have been applied, or may be applied later: read the page after ``settle_s``.

    ``settle_s`` names the wait before absence proves anything: "answered" (Notion answered, so
    nothing is under way), "silent" (it may still be working) or "over".
    """

    settle: str
    code: str


Verdict: TypeAlias = Applied | NotApplied | AnchorLost | Refused | Attention | Replay | Unknown

_ANCHOR_SIGNS = ("not parented by", "to append children after")
_NAMED = re.compile(r"\bbody\.children\[([0-9]{1,4})\]")  # "body.children[37].image should be …"
_TRASH_SIGNS = ("archived", "in trash", "unarchive")


def of_append(reply: Reply, *, expected: int, anchored: bool) -> Verdict:
    """Judge the answer to an append of ``expected`` first-level blocks.

    ``anchored`` says that the request named a sibling or a parent other than the page, so that a
    refusal may be about the place and not the content.
    """
    if reply.ok:
        ids = _created(reply, expected)
        return Applied(ids) if ids is not None else Replay(None)
    common = _common(reply)
    if common is not None:
        return common
    if reply.broker_code is not None:  # the broker's own refusal is never about the place
        return Refused(reply.broker_code, reply.message)
    message = reply.message
    low = message.lower()
    if reply.status == 404:
        if anchored:
            return AnchorLost(message)
        return Attention("page_gone", reply.code or "object_not_found", message)
    if reply.status == 400 and any(sign in low for sign in _ANCHOR_SIGNS):
        return AnchorLost(message)
    if reply.status == 400 and any(sign in low for sign in _TRASH_SIGNS):
        if anchored:
            return AnchorLost(message)
        return Attention("page_trashed", reply.code or "validation_error", message)
    if reply.status == 400 and anchored and not low.startswith("body failed validation"):
        return AnchorLost(message)
    named = _NAMED.search(message)
    code = reply.code or f"http_{reply.status}"
    return Refused(code, message, None if named is None else int(named[1]))


def of_create(reply: Reply) -> Verdict:
    """Judge the answer to the creation of a page."""
    if reply.ok:
        page = reply.body.get("id") if isinstance(reply.body, dict) else None
        return Applied((str(page),)) if page else Replay(None)
    common = _common(reply)
    if common is not None:
        return common
    if reply.status == 404:
        return Attention("parent_gone", reply.code or "object_not_found", reply.message)
    return Refused(reply.code or f"http_{reply.status}", reply.message)


def _common(reply: Reply) -> Verdict | None:
    """The answers that mean the same for every write; None when the status needs more thought."""
    code = reply.code or f"http_{reply.status}"
    broker = reply.broker_code
    if broker == "write_outcome_unknown":
        return Unknown("answered" if _answered(reply) else "silent", code)
    if broker == "in_progress":
        return Replay(reply.retry_after_s)
    if broker == "idempotency_key_spent":
        return NotApplied(None, None, False, broker, reply.message, proven=True)
    if broker == "idempotency_key_expired":
        return Unknown("over", broker)
    if broker == "idempotency_key_reused":
        return Unknown("silent", broker)
    if reply.code is None and reply.status not in (401, 429, 529):
        return Replay(reply.retry_after_s)  # not Notion's form: something in between spoke
    if reply.status in (429, 529):
        pause = {"limit_route": "route", "limit_user": "user"}.get(broker or "", "connection")
        return NotApplied(reply.retry_after_s, pause, False, broker or code, reply.message)
    if reply.status == 401:
        return NotApplied(None, "user", False, broker or code, reply.message)
    if reply.status == 403:
        blocked = _additional(reply).get("block_limit")
        reason = "workspace_full" if blocked else "no_access"
        return Attention(reason, code, reply.message)
    if reply.status >= 500 or reply.status == 409:
        if broker is not None:  # the broker speaks, and it says "unknown" where it is unknown
            return NotApplied(reply.retry_after_s, None, True, broker, reply.message)
        return Replay(reply.retry_after_s)  # a gateway before the broker: the key tells
    if reply.status == 408 or reply.status < 400:
        return Replay(reply.retry_after_s)
    return None


def _created(reply: Reply, expected: int) -> tuple[str, ...] | None:
    """The ids of the blocks just created: the first ``expected`` results.

    With an anchor Notion may list the later siblings too, so the rest is not ours.
    """
    if not isinstance(reply.body, dict):
        return None
    results = reply.body.get("results")
    if not isinstance(results, list) or len(results) < expected:
        return None
    ids = [item.get("id") for item in results[:expected] if isinstance(item, dict)]
    if len(ids) != expected or not all(isinstance(item, str) for item in ids):
        return None
    return tuple(str(item) for item in ids)


def _additional(reply: Reply) -> dict[str, object]:
    if isinstance(reply.body, dict):
        extra = reply.body.get("additional_data")
        if isinstance(extra, dict):
            return extra
    return {}


def _answered(reply: Reply) -> bool:
    return str(_additional(reply).get("answered", "")).lower() == "true"
