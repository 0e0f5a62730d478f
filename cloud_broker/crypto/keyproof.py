"""Proves at every start that each encryption key is the one that the database knows by its id.

The first use of a key stores a value sealed with it. From then on the key with that id must open
the value. A mistyped key stops the broker before it seals a row that other brokers cannot read.
"""

from __future__ import annotations

from cloud_broker.clock import Clock
from cloud_broker.crypto.sealing import KeyRing, Place, Sealed
from cloud_broker.errors import KeysRefused, SealBroken
from cloud_broker.secret import Secret
from cloud_broker.storage import keycheck
from cloud_broker.storage.database import Database, to_ms

TABLE = "key_proofs"
COLUMN = "value_sealed"
VALUE = Secret("the key that this id names")


async def prove(ring: KeyRing, database: Database, *, clock: Clock) -> None:
    """Raise KeysRefused when a key has changed or a needed key is missing."""
    async with database.transaction() as tx:
        for kid in ring.kids:
            fresh = ring.seal(Place(TABLE, kid), {COLUMN: VALUE}, kid=kid)
            kept = await keycheck.keep_or_read_proof(
                tx,
                kid=kid,
                wrapped_key=fresh.wrapped_key,
                value=fresh.columns[COLUMN],
                now=to_ms(clock.now()),
            )
            _open(ring, Sealed(kid, kept["wrapped_key"], {COLUMN: kept[COLUMN]}))
    async with database.reading() as tx:
        used = await keycheck.rows_by_key(tx)
    require(ring, used)


def require(ring: KeyRing, used: dict[str, int]) -> None:
    """Raise KeysRefused unless the ring holds every key that seals rows (``rows_by_key``)."""
    missing = sorted(used.keys() - set(ring.kids))
    if missing:
        named = ", ".join(f"{kid} ({used[kid]} rows)" for kid in missing)
        raise KeysRefused(
            f"Rows are sealed with keys that BROKER_ENCRYPTION_KEYS does not hold: {named}.",
            hint="Add them again, after the first key.",
        )


def _open(ring: KeyRing, sealed: Sealed) -> None:
    try:
        ring.open(Place(TABLE, sealed.kid), sealed, COLUMN)
    except SealBroken as error:
        raise KeysRefused(
            f"The key {sealed.kid} in BROKER_ENCRYPTION_KEYS is not the one that this database"
            " knows by this id.",
            hint="Restore the previous key, or give the new key a new id.",
        ) from error
