"""A step of the schema: one statement, and whether brokers of earlier releases can live with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["expand", "contract"]


@dataclass(frozen=True, slots=True)
class Contract:
    """A statement that takes away what an earlier release used.

    It stands in its area's list like any other. Everything else in a list is a plain text and
    expands: it must leave every statement of the release before as good as it was.
    """

    sql: str


@dataclass(frozen=True, slots=True)
class Step:
    """One statement with its name, ``area/number``."""

    name: str
    sql: str
    kind: Kind = "expand"

    @property
    def checksum(self) -> str:
        """SHA-256 of the statement, white space aside."""
        return hashlib.sha256(" ".join(self.sql.split()).encode()).hexdigest()


Area = tuple[str, Sequence[str | Contract]]


def numbered(areas: Sequence[Area]) -> list[Step]:
    """The steps of all areas in the order of application."""
    return [
        Step(f"{area}/{number:03d}", each.sql, "contract")
        if isinstance(each, Contract)
        else Step(f"{area}/{number:03d}", each)
        for area, statements in areas
        for number, each in enumerate(statements, 1)
    ]
