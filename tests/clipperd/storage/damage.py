"""Damages cache.db: before a daemon starts, and under a running one."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

Damage = Callable[[Path, Random], None]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def checkpoint(path: Path) -> None:
    """Move everything into the file itself, so that reads meet its damage."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


def delete(path: Path, _: Random) -> None:
    for suffix in ("", "-wal", "-shm"):
        file = _beside(path, suffix)
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def delete_log(path: Path, _: Random) -> None:
    _beside(path, "-wal").unlink(missing_ok=True)


def empty(path: Path, _: Random) -> None:
    path.write_bytes(b"")


def cut(path: Path, chance: Random) -> None:
    with path.open("r+b") as file:
        file.truncate(chance.randrange(1, path.stat().st_size))


def cut_log(path: Path, chance: Random) -> None:
    log = _beside(path, "-wal")
    if log.exists() and log.stat().st_size:
        with log.open("r+b") as file:
            file.truncate(chance.randrange(log.stat().st_size))


def noise(path: Path, chance: Random) -> None:
    """Replace every byte; keep the length."""
    with path.open("r+b") as file:
        file.write(chance.randbytes(path.stat().st_size))


def noisy_head(path: Path, chance: Random) -> None:
    with path.open("r+b") as file:
        file.write(chance.randbytes(100))


def noisy_pages(path: Path, chance: Random) -> None:
    """Damage half of the pages, except the first."""
    count = path.stat().st_size // 4096
    with path.open("r+b") as file:
        for page in chance.sample(range(1, count), count // 2):
            file.seek(page * 4096)
            file.write(chance.randbytes(4096))


def noisy_log(path: Path, chance: Random) -> None:
    _beside(path, "-wal").write_bytes(chance.randbytes(9_000))


def noisy_index(path: Path, chance: Random) -> None:
    _beside(path, "-shm").write_bytes(chance.randbytes(32_768))


def _sql(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def newer(path: Path, _: Random) -> None:
    _sql(path, "PRAGMA user_version = 1000")


def of_another_program(path: Path, _: Random) -> None:
    path.unlink()
    _sql(path, "CREATE TABLE page (cooks TEXT)")


def lacks_a_table(path: Path, _: Random) -> None:
    _sql(path, "DROP TABLE outline", "DROP TABLE page_index")


def folder(path: Path, chance: Random) -> None:
    delete(path, chance)
    path.mkdir()
    (path / "something").write_text("in it")


def folder_for_log(path: Path, _: Random) -> None:
    _beside(path, "-wal").unlink(missing_ok=True)
    _beside(path, "-wal").mkdir()


def folder_for_index(path: Path, _: Random) -> None:
    """Block the index file: SQLite then continues without a log."""
    _beside(path, "-shm").unlink(missing_ok=True)
    _beside(path, "-shm").mkdir()


def link_to_nowhere(path: Path, chance: Random) -> None:
    delete(path, chance)
    path.symlink_to(path.parent / "no such folder" / "cache.db")


def link_to_another(path: Path, _: Random) -> None:
    other = path.parent / "elsewhere.db"
    shutil.move(path, other)
    path.symlink_to(other)


WHILE_STOPPED: Mapping[str, Damage] = {
    each.__name__: each
    for each in (
        *(delete, delete_log, empty, cut, noise, noisy_head, noisy_pages, noisy_log, noisy_index),
        *(newer, of_another_program, lacks_a_table, folder, folder_for_log, folder_for_index),
        *(link_to_nowhere, link_to_another),
    )
}

WHILE_RUNNING: Mapping[str, Damage] = {
    each.__name__: each
    for each in (
        *(empty, cut, cut_log, noise, noisy_head, noisy_pages, noisy_log, newer, lacks_a_table),
    )
}
"""Without the index of the log: it is shared memory of the programs that have the file open."""

AT_LAST: Mapping[str, Damage] = {each.__name__: each for each in (delete, delete_log, folder)}
"""After these the daemon continues with an unlinked file; the next start creates a new one."""

_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"PRAGMA locking_mode={sys.argv[2]}")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE IF NOT EXISTS theirs (n)")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, mode: str) -> Iterator[None]:
    """Lock the file in another program: against writes (NORMAL), or completely (EXCLUSIVE)."""
    argv = [sys.executable, "-c", _HOLDER, str(path), mode]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            program.kill()
