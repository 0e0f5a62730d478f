"""Classify the answer to a write. One table, no I/O; docs/state-machine.md shows it.

The question is "can it have been applied?". Only an answer that proves that nothing was applied
releases the request. An unknown outcome is replayed under the same key, which the broker
remembers, or resolved by reading the page.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from clipperd.broker.reply import Reply


class Applied(msgspec.Struct, frozen=True):
    """Notion applied it; ``ids``: the created first-level blocks in request order, or the page."""

    ids: tuple[str, ...]


class NotApplied(msgspec.Struct, frozen=True):
    """Nothing was applied: retry after ``wait_s`` (None: back off).

    ``pause``: the limit that must wait too ("route", "user", "connection"), or None for this lane
    only. ``burned``: it counts as an attempt. ``proven``: an earlier send of the same request was
    not applied either, because the page was read or the broker has closed the key.
    """

    wait_s: float | None
    pause: str | None
    burned: bool
    code: str
    message: str
    proven: bool = False


class AnchorLost(msgspec.Struct, frozen=True):
    """Notion refused the insertion point and applied nothing: resolve the position again."""

    message: str


class Refused(msgspec.Struct, frozen=True):
    """Notion refused the content and applied nothing: find the refused clip and fail it.

    ``block``: the first-level block that the message names, if it names one.
    """

    code: str
    message: str
    block: int | None = None


class Attention(msgspec.Struct, frozen=True):
    """Only the user can fix it: no access, page gone, workspace full."""

    reason: str
    code: str
    message: str


class Replay(msgspec.Struct, frozen=True):
    """The broker knows or will know the outcome: send the same bytes under the same key again."""

    wait_s: float | None


class Unknown(msgspec.Struct, frozen=True):
    """It may have been applied, or may be applied later: read the page.

    ``settle`` names the wait after which an absent block proves that nothing was applied:
    "answered" (Notion answered, so nothing is in flight), "silent" (it may still be working) or
    "over".
    """

    settle: str
    code: str


class Behind(msgspec.Struct, frozen=True):
    """Another copy of this queue has sent since: nothing was sent, and the user must compare.

    ``run``: the process that sent last. ``newest_clip``: its newest clip when it began.
    """

    run: str
    newest_clip: int


Verdict: TypeAlias = (
    Applied | NotApplied | AnchorLost | Refused | Attention | Replay | Unknown | Behind
)

_ANCHOR_SIGNS = ("not parented by", "to append children after")
_NAMED = re.compile(r"\bbody\.children\[([0-9]{1,4})\]")  # "body.children[37].image should be …"
_TRASH_SIGNS = ("archived", "in trash", "unarchive")


def of_append(reply: Reply, *, expected: int, anchored: bool) -> Verdict:
    """Classify the answer to an append of ``expected`` first-level blocks.

    ``anchored``: the request named a sibling or a parent other than the page, so a refusal may
    concern the insertion point instead of the content.
    """
    if reply.ok:
        ids = _created(reply, expected)
        return Applied(ids) if ids is not None else Replay(None)
    common = _common(reply)
    if common is not None:
        return common
    if reply.broker_code is not None:  # the broker's own refusal never concerns the insertion point
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
    """Classify the answer to the creation of a page."""
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
    """Classify an answer that means the same for every write; None if it depends on the write."""
    code = reply.code or f"http_{reply.status}"
    broker = reply.broker_code
    if broker == "write_outcome_unknown":
        return Unknown("answered" if _answered(reply) else "silent", code)
    if broker == "in_progress":
        return Replay(reply.retry_after_s)
    if broker == "idempotency_key_spent":
        return NotApplied(None, None, False, broker, reply.message, proven=True)
    if broker == "outbox_behind":
        extra = _additional(reply)
        newest = str(extra.get("newest_clip", ""))
        return Behind(str(extra.get("run", "")), int(newest) if newest.isdecimal() else 0)
    if broker == "idempotency_key_expired":
        return Unknown("over", broker)
    if broker == "idempotency_key_reused":
        return Unknown("silent", broker)
    if reply.code is None and reply.status not in (401, 429, 529):
        return Replay(reply.retry_after_s)  # not Notion's format: a proxy answered
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
        if broker is not None:  # the broker answered; it reports an unknown outcome as such
            return NotApplied(reply.retry_after_s, None, True, broker, reply.message)
        return Replay(
            reply.retry_after_s
        )  # a gateway in front of the broker: replaying the key shows the outcome
    if reply.status == 408 or reply.status < 400:
        return Replay(reply.retry_after_s)
    return None


def _created(reply: Reply, expected: int) -> tuple[str, ...] | None:
    """Return the ids of the created blocks: the first ``expected`` results.

    After an anchor Notion may also list the later siblings; those are not ours.
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
