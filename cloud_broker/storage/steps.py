"""Defines a step of the schema: one statement, which older brokers tolerate or not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["expand", "contract"]


@dataclass(frozen=True, slots=True)
class Contract:
    """A statement that removes a table or column that an earlier release used.

    All other statements of an area are plain text and expand: every statement of the previous
    release must still work after them.
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
        """SHA-256 of the statement without differences of white space."""
        return hashlib.sha256(" ".join(self.sql.split()).encode()).hexdigest()


Area = tuple[str, Sequence[str | Contract]]


def numbered(areas: Sequence[Area]) -> list[Step]:
    """Return the steps of all areas in the order of application."""
    return [
        Step(f"{area}/{number:03d}", each.sql, "contract")
        if isinstance(each, Contract)
        else Step(f"{area}/{number:03d}", each)
        for area, statements in areas
        for number, each in enumerate(statements, 1)
    ]
