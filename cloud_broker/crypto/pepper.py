"""Holds the pepper of keyed hashes; opening it at start proves the key ring.

The first start creates it and stores it sealed in the database. At every later start it must open,
so a wrong or missing encryption key stops the broker before it writes unreadable rows.
"""

from __future__ import annotations

from cloud_broker.clock import Clock
from cloud_broker.crypto.sealing import KeyRing, Place, Sealed, keyed_hash
from cloud_broker.errors import KeysRefused, SealBroken
from cloud_broker.randomness import Randomness
from cloud_broker.secret import Secret
from cloud_broker.storage import keycheck
from cloud_broker.storage.database import Database, to_ms

NAME = "pepper"
COLUMN = "value_sealed"
PLACE = Place("broker_state", NAME)


class Pepper:
    """A secret that outlives every change of keys; call ``load`` before use."""

    def __init__(self, ring: KeyRing) -> None:
        """Take the ring that opens the pepper."""
        self._ring = ring
        self._value: Secret | None = None

    async def load(self, database: Database, *, clock: Clock, randomness: Randomness) -> None:
        """Read the pepper, or create it at the first start. Raises KeysRefused."""
        fresh = self._ring.seal(PLACE, {COLUMN: Secret(randomness.new_secret())})
        async with database.transaction() as tx:
            row = await keycheck.keep_or_read(
                tx,
                name=NAME,
                kid=fresh.kid,
                wrapped_key=fresh.wrapped_key,
                value=fresh.columns[COLUMN],
                now=to_ms(clock.now()),
            )
        sealed = Sealed(row["kid"], row["wrapped_key"], {COLUMN: row[COLUMN]})
        try:
            self._value = self._ring.open(PLACE, sealed, COLUMN)
        except SealBroken as error:
            raise KeysRefused(
                f"The key {row['kid']} in BROKER_ENCRYPTION_KEYS is not the one that sealed this"
                " database.",
                hint="Give the broker the keys that it was first started with.",
            ) from error

    def hash(self, *parts: str) -> str:
        """Return the HMAC-SHA256 of ``parts`` under the pepper, in hex."""
        assert self._value is not None, "load the pepper first"
        return keyed_hash(self._value, *parts)
