"""Encodes cursors of page lists: the sort key of the last item, stable under inserts."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from clipperd.errors import CursorInvalid
from clipperd.model import Scope

_CHECK_BYTES = 6  # a checksum against cursors of another list; not a secret


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The position after this key, in the order of the view."""

    key: float | str
    page_id: str


def encode(scope: Scope, view: str, kind: str, cursor: Cursor) -> str:
    """Encode ``cursor`` as an opaque string that only this list accepts."""
    body = msgspec.json.encode(cursor)
    return base64.urlsafe_b64encode(_check(scope, view, kind, body) + body).decode().rstrip("=")


def decode(scope: Scope, view: str, kind: str, text: str) -> Cursor:
    """Decode a cursor of this list. Raises CursorInvalid for any other string."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        body = raw[_CHECK_BYTES:]
        if raw[:_CHECK_BYTES] == _check(scope, view, kind, body):
            return msgspec.json.decode(body, type=Cursor)
    except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError) as error:
        raise _invalid() from error
    raise _invalid()


def _check(scope: Scope, view: str, kind: str, body: bytes) -> bytes:
    name = msgspec.json.encode([scope.user_id, scope.workspace_id, view, kind])
    return hashlib.blake2b(name + body, digest_size=_CHECK_BYTES).digest()


def _invalid() -> CursorInvalid:
    return CursorInvalid("That cursor was not issued for this list.", hint="Start without one.")
