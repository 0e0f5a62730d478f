"""Rows of cells to a Notion table: every row padded to the width of the widest."""

from __future__ import annotations

from typing import Any

from clipperd.content.limits import TABLE_WIDTH
from clipperd.content.losses import Losses
from clipperd.content.runs import Run, text_run
from clipperd.model import Block


class TableBuilder:
    """Collects the rows of one table; the first row is its header."""

    def __init__(self) -> None:
        """Start with no rows."""
        self._rows: list[list[list[Run]]] = []

    def row(self) -> None:
        """Begin the next row."""
        self._rows.append([])

    def cell(self, runs: list[Run]) -> None:
        """Add a cell to the row begun last."""
        self._rows[-1].append(runs)

    @property
    def width(self) -> int:
        """Cells in the row begun last."""
        return len(self._rows[-1])

    def block(self, losses: Losses) -> Block:
        """The table, however long; ``chunks.plan`` sends its rows a hundred at a time."""
        width = max(1, *(len(row) for row in self._rows)) if self._rows else 1
        if width > TABLE_WIDTH:
            losses.add("table_width", "Cells beyond the hundredth were joined into the last one")
            width = TABLE_WIDTH
        rows = [_row(_joined(row, width)) for row in self._rows]
        body: dict[str, Any] = {
            "table_width": width,
            "has_column_header": True,
            "has_row_header": False,
            "children": rows or [_row([[]])],
        }
        return {"type": "table", "table": body}


def _joined(row: list[list[Run]], width: int) -> list[list[Run]]:
    if len(row) <= width:
        return row + [[] for _ in range(width - len(row))]
    last: list[Run] = []
    for cell in row[width - 1 :]:
        last += [*cell, text_run(" | ")]
    return [*row[: width - 1], last[:-1]]


def _row(cells: list[list[Run]]) -> Block:
    return {"type": "table_row", "table_row": {"cells": cells}}
