"""Copies the readable rows of a damaged SQLite file into a new file of the same schema.

It reads each table from both ends until a damaged page, then the rows in between one by one,
because a damaged page hides only its own rows. If the first page, which lists the tables, is
damaged, it takes the first page of a backup: tables keep their root pages.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from clipperd.storage.text import readable

_MAX_GAP = 2_000  # row numbers without a row that mark the end of a table
_MAX_LOOKUPS = 500_000  # rows read one by one; bounds the time of a recovery
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite_%'"


class RecoveredRows(msgspec.Struct):
    """Counts of recovered rows by table, and the row numbers lost on unreadable pages."""

    rows: dict[str, int] = msgspec.field(default_factory=dict)
    lost: dict[str, set[int]] = msgspec.field(default_factory=dict)


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the error means a damaged file, not a disk error or another program."""
    name = getattr(error, "sqlite_errorname", "")
    if not name:  # raised by Python's sqlite3 module: text that is not UTF-8
        return isinstance(error, sqlite3.OperationalError)
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ"))


def is_sound(path: Path) -> bool:
    """Return whether every page can be read. Raises sqlite3.Error on a disk error."""
    if path.is_dir():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error as error:
        if is_damage(error):
            return False
        raise


def recover_rows(
    damaged: Path, into: sqlite3.Connection, *, backup: Path | None, work: Path
) -> RecoveredRows:
    """Copy every readable row to ``into``, which has the schema and no rows.

    ``backup`` lends its first page if necessary; ``work`` is a folder for temporary files.
    Does not change ``damaged``. Raises sqlite3.Error only if ``into`` fails.
    """
    found = RecoveredRows()
    if not damaged.is_file():
        return found
    working = _working_copy(damaged, work)
    if not _tables(working) and (backup is None or not _lend_first_page(backup, working)):
        return found
    with contextlib.closing(sqlite3.connect(working)) as source:
        source.text_factory = readable  # keep rows with a broken letter
        for table in _tables(working):
            _recover_table(source, into, table, found)
    return found


def copy_rows(backup: Path, into: sqlite3.Connection, table: str, rows: set[int]) -> None:
    """Copy ``rows`` (by number) of a table from a backup, as far as it has them."""
    with contextlib.closing(sqlite3.connect(backup)) as source:
        statements = _Statements.of(source, into, table)
        if statements is not None:
            for number in sorted(rows):
                row = source.execute(statements.select_one, (number,)).fetchone()
                if row is not None:
                    _insert(into, statements, row)


class _Statements(msgspec.Struct, frozen=True):
    """The SQL to copy one table: the columns that both files have, in key order."""

    table: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    has_numbers: bool

    @classmethod
    def of(
        cls, source: sqlite3.Connection, into: sqlite3.Connection, table: str
    ) -> _Statements | None:
        """Return None if a file lacks the table, or the source's schema is unreadable."""
        try:
            theirs = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
        except sqlite3.DatabaseError:
            return None
        ours = list(into.execute(f"PRAGMA table_info({table})"))
        columns = tuple(row[1] for row in ours if row[1] in theirs)
        if not columns:
            return None
        sql = into.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        numbered = "WITHOUT ROWID" not in sql.upper()
        primary = tuple(row[1] for row in sorted(ours, key=lambda row: row[5]) if row[5])
        return cls(table, columns, ("rowid",) if numbered else primary, numbered)

    def select_all(self, order: str) -> str:
        """Select every row in key order, ASC or DESC."""
        by = ", ".join(f"{key} {order}" for key in self.keys)
        return f"SELECT {self._selected} FROM {self.table} ORDER BY {by}"  # noqa: S608 (schema)

    @property
    def select_one(self) -> str:
        """Select a row by its number."""
        return f"SELECT {self._selected} FROM {self.table} WHERE rowid = ?"  # noqa: S608 (schema)

    @property
    def insert(self) -> str:
        """Insert a row as selected, with its number."""
        names = ("rowid", *self.columns) if self.has_numbers else self.columns
        marks = ", ".join("?" * len(names))
        return f"INSERT OR IGNORE INTO {self.table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 (schema)

    @property
    def _selected(self) -> str:
        return ", ".join(("rowid", *self.columns) if self.has_numbers else self.columns)


def _recover_table(
    source: sqlite3.Connection, into: sqlite3.Connection, table: str, found: RecoveredRows
) -> None:
    statements = _Statements.of(source, into, table)
    if statements is None:
        return
    count, ends = 0, []
    for order in ("ASC", "DESC"):
        last, is_whole = None, True
        for row in _until_damaged(source, statements.select_all(order)):
            if row is None:
                is_whole = False
                break
            last = row[0]
            count += _insert(into, statements, row)
        ends.append(last)
        if is_whole:
            break
    else:
        if statements.has_numbers:
            count += _recover_between(source, into, statements, ends, found)
    found.rows[table] = count


def _until_damaged(source: sqlite3.Connection, sql: str) -> Iterator[sqlite3.Row | None]:
    """Yield rows, then None if a damaged page ended the read."""
    try:
        yield from source.execute(sql)
    except sqlite3.DatabaseError:
        yield None


def _recover_between(
    source: sqlite3.Connection,
    into: sqlite3.Connection,
    statements: _Statements,
    ends: Sequence[int | None],
    found: RecoveredRows,
) -> int:
    low, high = ends[0] or 0, ends[1]
    count = misses = 0
    lost = found.lost.setdefault(statements.table, set())
    stop = low + _MAX_LOOKUPS
    for number in range(low + 1, stop if high is None else min(stop, high)):
        try:
            row = source.execute(statements.select_one, (number,)).fetchone()
        except sqlite3.DatabaseError:
            lost.add(number)
            row = None
        if row is not None:
            count, misses = count + _insert(into, statements, row), 0
        else:
            misses += 1
            if high is None and misses > _MAX_GAP:
                break
    return count


def _insert(into: sqlite3.Connection, statements: _Statements, row: Sequence[object]) -> int:
    """Return 1 if the row is new and satisfies the table's constraints, else 0."""
    try:
        return into.execute(statements.insert, tuple(row)).rowcount
    except (sqlite3.IntegrityError, sqlite3.InterfaceError):
        return 0  # a damaged row


def _tables(path: Path) -> list[str]:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return [name for (name,) in connection.execute(TABLES)]
    except sqlite3.DatabaseError:
        return []


def _working_copy(damaged: Path, work: Path) -> Path:
    copy = work / damaged.name
    shutil.copyfile(damaged, copy)
    with copy.open("r+b") as file:
        head = file.read(32)
        pages = int.from_bytes(head[28:32], "big")
        if head.startswith(b"SQLite format 3\0") and pages < _MAX_LOOKUPS:
            # SQLite refuses a truncated file but reads one with empty pages.
            file.truncate(max(copy.stat().st_size, pages * _page_size(head)))
    log = damaged.with_name(damaged.name + "-wal")
    if log.is_file():
        shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
    return copy


def _lend_first_page(lender: Path, borrower: Path) -> bool:
    """Replace the first page of ``borrower``; return whether its tables are readable then.

    https://www.sqlite.org/fileformat2.html section 1.3: bytes 16-17 are the page size, 28-31 the
    size in pages (valid if 24-27 equal 92-95), 32-39 the list of free pages.
    """
    head = bytearray(lender.read_bytes()[:100])
    if len(head) < 100:
        return False
    size = _page_size(head)
    page = bytearray(lender.read_bytes()[:size])
    page[28:32] = (borrower.stat().st_size // size).to_bytes(4, "big")
    page[92:96] = page[24:28]
    page[32:40] = bytes(8)
    with borrower.open("r+b") as file:
        file.write(page)
    return bool(_tables(borrower))


def _page_size(head: bytes | bytearray) -> int:
    size = int.from_bytes(head[16:18], "big")
    return 65_536 if size == 1 else size
