"""Verifies and parses a webhook request from Notion (pure).

https://developers.notion.com/reference/webhooks: HMAC-SHA256 over the raw body, keyed by the
verification token. The signature has no time in it, so the event's own time and id protect
against replays.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from cloud_broker.clock import from_rfc3339
from cloud_broker.errors import InvalidInput
from cloud_broker.secret import Secret

ChangeKind = Literal["content", "properties", "moved", "deleted", "created"]

SIGNATURE = "X-Notion-Signature"
_KINDS = frozenset({"page", "database", "data_source"})
_CHANGE_KINDS: dict[str, ChangeKind] = {
    "created": "created",
    "undeleted": "created",
    "moved": "moved",
    "deleted": "deleted",
    "content_updated": "content",
    "transcription_block.transcript_deleted": "content",
    "properties_updated": "properties",
    "schema_updated": "properties",
    "locked": "properties",
    "unlocked": "properties",
}
_ID = re.compile(r"\A[0-9A-Za-z_-]{1,100}\Z", re.ASCII)


class _Party(msgspec.Struct):
    id: str
    type: str = ""


class _Payload(msgspec.Struct):
    """The fields that the broker uses; Notion may add others."""

    id: str
    timestamp: str
    workspace_id: str
    type: str
    entity: _Party
    authors: list[_Party] = []
    accessible_by: list[_Party] | None = None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event. ``what`` is the kind of change; None when no page is concerned.

    ``at``: epoch seconds. ``bots``: the authors when all of them are bots, else None.
    ``accessible_by``: the users and bots that may know of it; None when Notion does not say.
    """

    id: str
    at: float
    workspace_id: str
    page_id: str
    what: ChangeKind | None
    bots: tuple[str, ...] | None
    accessible_by: tuple[str, ...] | None


def is_signed(token: Secret, body: bytes, signature: str) -> bool:
    """Whether ``signature`` is the token's for the raw ``body``; compares in constant time."""
    digest = hmac.new(token.reveal().encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={digest}".encode(), signature.encode("utf-8", "replace"))


def handshake_of(body: bytes) -> Secret | None:
    """Return the verification token of a handshake, None for another body."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict) or set(value) != {"verification_token"}:
        return None
    token = value["verification_token"]
    return Secret(token) if isinstance(token, str) and 8 <= len(token) <= 512 else None


def read(body: bytes) -> WebhookEvent:
    """Parse a verified event. Raises InvalidInput."""
    try:
        payload = msgspec.json.decode(body, type=_Payload)
        at = from_rfc3339(payload.timestamp)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
        raise InvalidInput("The event does not have the documented form.") from None
    ids = (payload.id, payload.workspace_id, payload.entity.id)
    if not all(_ID.match(each) for each in ids):
        raise InvalidInput("The event has a malformed id.")
    kind, _, verb = payload.type.partition(".")
    bots = [author.id for author in payload.authors if author.type == "bot"]
    only_bots = bots and len(bots) == len(payload.authors)
    seen_by = payload.accessible_by
    return WebhookEvent(
        id=payload.id,
        at=at,
        workspace_id=payload.workspace_id,
        page_id=payload.entity.id,
        what=_CHANGE_KINDS.get(verb) if kind in _KINDS else None,
        bots=tuple(sorted(set(bots))) if only_bots else None,
        accessible_by=None if seen_by is None else tuple(sorted({each.id for each in seen_by})),
    )
