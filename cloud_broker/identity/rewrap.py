"""Reseals all rows with the first key of the ring, while brokers serve.

It works in batches: read, seal again, write if the row has not changed. You can stop it at any
time; the next run continues. A row that a broker changes in between is read again. The broker's
own values come last: as long as other rows need an older key, the pepper under that key proves
that the ring holds the right one.
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
ROUNDS = 5  # passes over all tables, for rows that changed in between
TRIES = 3  # retries of a batch that the database refused


class _Kind(NamedTuple):
    """The queries, place and sealed columns of one table."""

    table: str
    find: Callable[..., Awaitable[list[Row]]]
    replace: Callable[..., Awaitable[bool]]
    place: Callable[[Row], Place]
    columns: tuple[str, ...]
    opening: Callable[[Row, str], Opening] | None  # None: the table holds no tokens


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
class RewrapResult:
    """The number of resealed rows; ``left`` counts the rows under each other key.

    ``broken``: the rows that do not open, as ``table id``.
    """

    moved: int = 0
    left: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)


class Rewrap:
    """Reseals rows; audits each opened token and each batch."""

    def __init__(self, database: Database, ring: KeyRing, audit: Audit) -> None:
        """Reseal with the first key of ``ring``."""
        self._database = database
        self._ring = ring
        self._audit = audit

    async def left(self) -> dict[str, int]:
        """Count the rows under each other key. Raises KeysRefused when the ring lacks one."""
        async with self._database.reading() as tx:
            used = await keycheck.rows_by_key(tx)
        require(self._ring, used)
        return {kid: many for kid, many in sorted(used.items()) if kid != self._ring.first}

    async def run(self, report: Callable[[int], None]) -> RewrapResult:
        """Reseal all rows; call ``report`` after each batch with the number so far.

        Raises KeysRefused before any change when the ring lacks a key; DatabaseFailed.
        """
        result = RewrapResult(left=await self.left())
        for _ in range(ROUNDS):
            for kind in _KINDS:
                await self._reseal_table(kind, result, report)
            result.left = await self.left()
            if sum(result.left.values()) <= len(result.broken):
                break
        return result

    async def _reseal_table(
        self, kind: _Kind, result: RewrapResult, report: Callable[[int], None]
    ) -> None:
        after, failures = "", 0
        while True:
            async with self._database.reading() as tx:
                batch = await kind.find(tx, kid=self._ring.first, after=after, limit=BATCH)
            if not batch:
                return
            try:
                result.moved += await self._move(kind, batch, self._resealed(kind, batch, result))
            except DatabaseFailed as error:  # a deadlock, for example
                failures += 1
                if failures > TRIES:
                    raise
                log.warning("A batch failed and is tried again: %s", error)
                continue
            after, failures = batch[-1]["id"], 0
            report(result.moved)

    async def _move(
        self, kind: _Kind, batch: Sequence[Row], resealed: Sequence[tuple[Row, Sealed]]
    ) -> int:
        """Replace the rows that have not changed, and audit the openings."""
        async with self._database.transaction() as tx:
            moved = sum([await self._replace(tx, kind, row, new) for row, new in resealed])
            if kind.opening is not None:
                openings = [kind.opening(row, "rewrap") for row in batch]
                await self._audit.write_openings(tx, openings)
            facts: dict[str, Fact] = {"rows": moved, "kid": self._ring.first}
            await self._audit.write(tx, "keys_rewrapped", "", facts=facts, subject={})
        return moved

    def _resealed(
        self, kind: _Kind, batch: Sequence[Row], result: RewrapResult
    ) -> list[tuple[Row, Sealed]]:
        """Reseal the rows that open; list the others as broken and leave them unchanged."""
        found = []
        for row in batch:
            try:
                found.append((row, self._reseal_row(kind, row)))
            except SealBroken:
                result.broken.add(f"{kind.table} {row['id']}")
        return found

    def _reseal_row(self, kind: _Kind, row: Row) -> Sealed:
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
