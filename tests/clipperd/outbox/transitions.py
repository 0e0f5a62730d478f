"""The transitions in docs/state-machine.md, and those that a database makes."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "state-machine.md").read_text("utf-8")

Move = tuple[str, str]


def drawn() -> set[Move]:
    """The arrows of the page's diagram, the one into it aside."""
    diagram = PAGE.partition("```mermaid\n")[2].partition("```")[0]
    return set(re.findall(r"^ +(\w+) --> (\w+): \S", diagram, re.MULTILINE))


def watch(connection: sqlite3.Connection) -> None:
    """Keep every change of a delivery's state from now on."""
    connection.execute("CREATE TEMP TABLE move (old TEXT, new TEXT)")
    connection.execute(
        "CREATE TEMP TRIGGER moves AFTER UPDATE OF state ON main.delivery"
        " WHEN old.state <> new.state"
        " BEGIN INSERT INTO move (old, new) VALUES (old.state, new.state); END"
    )


def made(connection: sqlite3.Connection) -> set[Move]:
    """Those that were made since."""
    rows = connection.execute("SELECT DISTINCT old, new FROM move")
    return {(row["old"], row["new"]) for row in rows}
