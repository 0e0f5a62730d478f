"""Seals Notion's tokens: AES-256-GCM, one data key per row, wrapped by a key of the ring.

A sealed column opens only in its own row: table, column, connection, user, workspace and key id
are associated data of the value and of the wrapped data key, so a swapped or edited row or column
does not open. Each ``seal`` makes a new data key and new random 96-bit nonces. Seal a row again to
move it to the ring's first key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from cloud_broker.errors import KeysRefused, SealBroken
from cloud_broker.secret import Secret

VERSION = 1
NONCE_BYTES = 12  # NIST SP 800-38D section 8.2.2: 96 random bits
KEY_COLUMN = "wrapped_key"


class Place(Struct, frozen=True):
    """The row of sealed columns; ids that it does not have are empty strings."""

    table: str
    connection_id: str
    user_id: str = ""
    workspace_id: str = ""


class Sealed(Struct, frozen=True):
    """A row's sealed columns, its wrapped data key and the id of the wrapping key."""

    kid: str
    wrapped_key: bytes
    columns: Mapping[str, bytes]


class KeyRing:
    """The encryption keys: the first one seals, each opens the rows that it sealed."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """Take (kid, 32 bytes) pairs, at least one."""
        self._ciphers = {kid: AESGCM(key) for kid, key in keys}
        self.kids = tuple(kid for kid, _ in keys)

    @property
    def first(self) -> str:
        """The id of the key that seals."""
        return self.kids[0]

    def seal(self, place: Place, values: Mapping[str, Secret], kid: str | None = None) -> Sealed:
        """Seal each column's value for the row ``place``, by default with the first key."""
        kid = kid or self.first
        data_key = AESGCM.generate_key(256)
        cipher = AESGCM(data_key)
        columns = {
            column: _lock(cipher, value.reveal().encode(), _bound(place, column, kid))
            for column, value in values.items()
        }
        wrapped = _lock(self._ciphers[kid], data_key, _bound(place, KEY_COLUMN, kid))
        return Sealed(kid=kid, wrapped_key=wrapped, columns=columns)

    def open(self, place: Place, sealed: Sealed, column: str) -> Secret:
        """Open one column. Raises KeysRefused (key not in the ring) or SealBroken."""
        outer = self._ciphers.get(sealed.kid)
        if outer is None:
            raise KeysRefused(
                f"The key {sealed.kid} is not in BROKER_ENCRYPTION_KEYS, but rows are sealed"
                " with it.",
                hint="Add the key again, after the first key.",
            )
        data_key = _unlock(outer, sealed.wrapped_key, _bound(place, KEY_COLUMN, sealed.kid))
        plain = _unlock(AESGCM(data_key), sealed.columns[column], _bound(place, column, sealed.kid))
        return Secret(plain.decode())


def keyed_hash(pepper: Secret, *parts: str) -> str:
    """Return the HMAC-SHA256 of length-prefixed ``parts`` under ``pepper``, in hex."""
    return hmac.new(
        pepper.reveal().encode(), _prefixed([part.encode() for part in parts]), hashlib.sha256
    ).hexdigest()


@lru_cache(maxsize=4096)
def _bound(place: Place, column: str, kid: str) -> bytes:
    """Return the associated data; each part has a length prefix, so no two rows share it."""
    parts = (
        str(VERSION),
        place.table,
        column,
        place.connection_id,
        place.user_id,
        place.workspace_id,
        kid,
    )
    return _prefixed([part.encode() for part in parts])


def _prefixed(parts: Sequence[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _lock(cipher: AESGCM, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return bytes([VERSION]) + nonce + cipher.encrypt(nonce, plain, bound)


def _unlock(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    if len(sealed) < 1 + NONCE_BYTES or sealed[0] != VERSION:
        raise SealBroken("A stored secret has an unknown form.")
    nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return cipher.decrypt(nonce, body, bound)
    except InvalidTag as error:
        raise SealBroken("A stored secret does not open with its key in its row.") from error
