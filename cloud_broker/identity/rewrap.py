"""Moving everything sealed to the first key of the ring, while brokers serve.

In batches: read, sealed anew, written where the row still is what was read. Stopped anywhere, the
next run goes on where this one was. A row that a broker stores anew meanwhile is left to it and
looked at again. The broker's own values come last: while any other row needs an older key, the
pepper under it keeps a wrong one from being taken.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cloud_broker.audit import Audit, Opening, opening
from cloud_broker.crypto.keyproof import require
from cloud_broker.crypto.sealing import KeyRing, Place, Sealed
from cloud_broker.errors import DatabaseFailed, SealBroken
from cloud_broker.identity import connections, revocations
from cloud_broker.storage import keycheck
from cloud_broker.storage import resealing as rows
from cloud_broker.storage.audit import Fact
from cloud_broker.storage.database import Database, Row, Tx

log = logging.getLogger(__name__)

BATCH = 100
ROUNDS = 5  # of looking again for rows that moved meanwhile
TRIES = 3  # of a batch that the database refused


class _Kind(NamedTuple):
    """One table: how its rows are found and replaced, where they are bound, what they hold."""

    table: str
    find: Callable[..., Awaitable[list[Row]]]
    replace: Callable[..., Awaitable[bool]]
    place: Callable[[Row], Place]
    columns: tuple[str, ...]
    opening: Callable[[Row, str], Opening] | None  # None: it holds no token


_KINDS = (
    _Kind(
        connections.TABLE,
        rows.connections_under_others,
        rows.reseal_connection,
        connections.place_of,
        (connections.ACCESS, connections.REFRESH),
        opening,
    ),
    _Kind(
        revocations.TABLE,
        rows.revocations_under_others,
        rows.reseal_revocation,
        lambda row: Place(revocations.TABLE, row["id"]),
        (revocations.COLUMN,),
        revocations.opening,
    ),
    _Kind(
        "broker_state",
        rows.values_under_others,
        rows.reseal_value,
        lambda row: Place("broker_state", row["id"]),
        ("value_sealed",),
        None,
    ),
)


@dataclass(slots=True)
class Moved:
    """How many rows were sealed anew; ``left``: rows by the other keys that they are under.

    ``broken``: the rows that do not open, as ``table id``.
    """

    moved: int = 0
    left: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)


class Rewrap:
    """Seals rows anew. Audited: each token that is opened for it, and each batch."""

    def __init__(self, database: Database, ring: KeyRing, audit: Audit) -> None:
        """Everything goes under the first key of ``ring``."""
        self._database = database
        self._ring = ring
        self._audit = audit

    async def left(self) -> dict[str, int]:
        """How many rows are under each other key. Raises KeysRefused: the ring lacks one."""
        async with self._database.reading() as tx:
            used = await keycheck.rows_by_key(tx)
        require(self._ring, used)
        return {kid: many for kid, many in sorted(used.items()) if kid != self._ring.first}

    async def run(self, told: Callable[[int], None]) -> Moved:
        """Move everything; ``told`` hears after each batch how many rows were moved so far.

        Raises KeysRefused, before anything is moved, when the ring lacks a key; DatabaseFailed.
        """
        result = Moved(left=await self.left())
        for _ in range(ROUNDS):
            for kind in _KINDS:
                await self._all_of(kind, result, told)
            result.left = await self.left()
            if sum(result.left.values()) <= len(result.broken):
                break
        return result

    async def _all_of(self, kind: _Kind, result: Moved, told: Callable[[int], None]) -> None:
        after, failures = "", 0
        while True:
            async with self._database.reading() as tx:
                batch = await kind.find(tx, kid=self._ring.first, after=after, limit=BATCH)
            if not batch:
                return
            try:
                result.moved += await self._move(kind, batch, self._anew(kind, batch, result))
            except DatabaseFailed as error:  # PostgreSQL ends one of two that wait for each other
                failures += 1
                if failures > TRIES:
                    raise
                log.warning("a batch is tried again: %s", error)
                continue
            after, failures = batch[-1]["id"], 0
            told(result.moved)

    async def _move(
        self, kind: _Kind, batch: Sequence[Row], anew: Sequence[tuple[Row, Sealed]]
    ) -> int:
        """Replace the rows that still are what was read, and note what was opened."""
        async with self._database.transaction() as tx:
            moved = sum([await self._replace(tx, kind, row, new) for row, new in anew])
            if kind.opening is not None:
                openings = [kind.opening(row, "rewrap") for row in batch]
                await self._audit.write_openings(tx, openings)
            facts: dict[str, Fact] = {"rows": moved, "kid": self._ring.first}
            await self._audit.write(tx, "keys_rewrapped", "", facts=facts, subject={})
        return moved

    def _anew(self, kind: _Kind, batch: Sequence[Row], result: Moved) -> list[tuple[Row, Sealed]]:
        """Seal what opens; what does not is noted, and nothing of it is lost."""
        found = []
        for row in batch:
            try:
                found.append((row, self._sealed_anew(kind, row)))
            except SealBroken:
                result.broken.add(f"{kind.table} {row['id']}")
        return found

    def _sealed_anew(self, kind: _Kind, row: Row) -> Sealed:
        present = {column: row[column] for column in kind.columns if row[column] is not None}
        before = Sealed(row["kid"], row["wrapped_key"], present)
        place = kind.place(row)
        values = {column: self._ring.open(place, before, column) for column in present}
        return self._ring.seal(place, values)

    async def _replace(self, tx: Tx, kind: _Kind, row: Row, new: Sealed) -> bool:
        columns = {column: new.columns.get(column) for column in kind.columns}
        return await kind.replace(
            tx, row, kid=new.kid, wrapped_key=new.wrapped_key, columns=columns
        )
