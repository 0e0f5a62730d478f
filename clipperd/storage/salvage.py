"""Reading what can still be read of a damaged SQLite file into a new one of the same schema.

A table is walked from both ends until a page cannot be read; between the two, rows are asked for
one by one, since a page that is damaged hides only its own. Where the first page is gone, and
with it the list of tables, the one of a copy stands in: tables stay where they were created.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from clipperd.storage.text import readable

_MISSES = 2_000  # row numbers without a row, after which the end of a table is believed
_MOST = 500_000  # rows asked for one by one
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite_%'"


class Harvest(msgspec.Struct):
    """What was read: rows by table, and the numbers of rows that stand on unreadable pages."""

    rows: dict[str, int] = msgspec.field(default_factory=dict)
    lost: dict[str, set[int]] = msgspec.field(default_factory=dict)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault, and not the disk or another program."""
    name = getattr(error, "sqlite_errorname", "")
    if not name:  # the module's own sentence: text that is not UTF-8
        return isinstance(error, sqlite3.OperationalError)
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ"))


def is_sound(path: Path) -> bool:
    """Whether every page can be read. Raises sqlite3.Error where the disk is in trouble."""
    if path.is_dir():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error as error:
        if is_damage(error):
            return False
        raise


def harvest(damaged: Path, into: sqlite3.Connection, *, copy: Path | None, work: Path) -> Harvest:
    """Copy every row that can be read into ``into``, which has the schema and no row yet.

    ``copy``: an older whole copy, for its first page. ``work``: a folder for files of our own;
    ``damaged`` itself is not touched. Raises sqlite3.Error only where ``into`` fails.
    """
    found = Harvest()
    if not damaged.is_file():
        return found
    working = _working_copy(damaged, work)
    if not _tables(working) and (copy is None or not _lend_first_page(copy, working)):
        return found
    with contextlib.closing(sqlite3.connect(working)) as source:
        source.text_factory = readable  # a row is not lost for one letter
        for table in _tables(working):
            _take(source, into, table, found)
    return found


def fill_in(copy: Path, into: sqlite3.Connection, table: str, rows: set[int]) -> None:
    """Take ``rows`` (by number) of a table from a whole copy, those it has."""
    with contextlib.closing(sqlite3.connect(copy)) as source:
        shape = _Shape.of(source, into, table)
        if shape is not None:
            for number in sorted(rows):
                row = source.execute(shape.one, (number,)).fetchone()
                if row is not None:
                    _put(into, shape, row)


class _Shape(msgspec.Struct, frozen=True):
    """The statements for one table: its columns that both files have, and its order."""

    table: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    has_numbers: bool

    @classmethod
    def of(cls, source: sqlite3.Connection, into: sqlite3.Connection, table: str) -> _Shape | None:
        """None where either file has no such table, or the source cannot say."""
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

    def walk(self, order: str) -> str:
        """Every row in the order of its key."""
        by = ", ".join(f"{key} {order}" for key in self.keys)
        return f"SELECT {self._selected} FROM {self.table} ORDER BY {by}"  # noqa: S608 (schema)

    @property
    def one(self) -> str:
        """The row with a number."""
        return f"SELECT {self._selected} FROM {self.table} WHERE rowid = ?"  # noqa: S608 (schema)

    @property
    def put(self) -> str:
        """Insert a row as it was selected, its number included."""
        names = ("rowid", *self.columns) if self.has_numbers else self.columns
        marks = ", ".join("?" * len(names))
        return f"INSERT OR IGNORE INTO {self.table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 (schema)

    @property
    def _selected(self) -> str:
        return ", ".join(("rowid", *self.columns) if self.has_numbers else self.columns)


def _take(source: sqlite3.Connection, into: sqlite3.Connection, table: str, found: Harvest) -> None:
    shape = _Shape.of(source, into, table)
    if shape is None:
        return
    count, ends = 0, []
    for order in ("ASC", "DESC"):
        last, is_whole = None, True
        for row in _until_damaged(source, shape.walk(order)):
            if row is None:
                is_whole = False
                break
            last = row[0]
            count += _put(into, shape, row)
        ends.append(last)
        if is_whole:
            break
    else:
        if shape.has_numbers:
            count += _take_between(source, into, shape, ends, found)
    found.rows[table] = count


def _until_damaged(source: sqlite3.Connection, sql: str) -> Iterator[sqlite3.Row | None]:
    """Rows; None at the end when a page stopped it."""
    try:
        yield from source.execute(sql)
    except sqlite3.DatabaseError:
        yield None


def _take_between(
    source: sqlite3.Connection,
    into: sqlite3.Connection,
    shape: _Shape,
    ends: Sequence[int | None],
    found: Harvest,
) -> int:
    low, high = ends[0] or 0, ends[1]
    count = misses = 0
    lost = found.lost.setdefault(shape.table, set())
    for number in range(low + 1, min(low + _MOST, high if high is not None else low + _MOST)):
        try:
            row = source.execute(shape.one, (number,)).fetchone()
        except sqlite3.DatabaseError:
            lost.add(number)
            row = None
        if row is not None:
            count, misses = count + _put(into, shape, row), 0
        else:
            misses += 1
            if high is None and misses > _MISSES:
                break
    return count


def _put(into: sqlite3.Connection, shape: _Shape, row: Sequence[object]) -> int:
    """1 where the row was new and is one that the table allows."""
    try:
        return into.execute(shape.put, tuple(row)).rowcount
    except (sqlite3.IntegrityError, sqlite3.InterfaceError):
        return 0  # half a row: its values break the table's own rules


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
        if head.startswith(b"SQLite format 3\0") and pages < _MOST:
            # A file that was cut off is refused as a whole; one with empty pages is not.
            file.truncate(max(copy.stat().st_size, pages * _page_size(head)))
    log = damaged.with_name(damaged.name + "-wal")
    if log.is_file():
        shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
    return copy


def _lend_first_page(lender: Path, borrower: Path) -> bool:
    """Write the first page of ``lender`` over the borrower's; True when tables are seen then.

    https://www.sqlite.org/fileformat2.html section 1.3: bytes 16-17 the page size, 24-27 and
    92-95 equal where the size in pages (28-31) counts, 32-39 the list of free pages.
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
