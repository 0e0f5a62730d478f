"""Checks that an open SQLite database is the file of its name, and puts its content back there.

SQLite continues in a deleted or replaced file without an error: commits then reach a file that
the next start cannot find.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from clipperd.errors import ClipperdError, StorageFull
from clipperd.storage.disk import sync_file, sync_folder

_LOST_NAME = "FILE_LOST_NAME"

REPLACED = "replaced"
"""The first word of a quarantine folder that holds foreign files."""

RESCUED = ".rescued"
"""Ends the name of a complete copy that waits for its name; the next start renames it."""

copying = threading.Lock()
"""Held while a connection of this process besides the two of a Database has the file open.

The last close of a deleted file removes its logs by name, which may be those of a new file.
"""

LOGS = ("-wal", "-shm")

Identity = tuple[int, int]
"""A file's device and inode."""

_SIZED = ("", "-wal")  # a file that ends earlier than we left it was cut by another program


def beside(path: Path, suffix: str) -> Path:
    """Return the path of the database's log or shared memory."""
    return path.with_name(path.name + suffix)


class NamedFiles:
    """The identities of an open database's three files."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._paths = [beside(path, suffix) for suffix in ("", *LOGS)]
        self._known: list[Identity | None] = []
        self._known_folder: Identity | None = None
        self._sizes: list[int] = []

    def remember(self) -> None:
        """Take the files that now have the names for the open ones; call it after opening."""
        self._known = [_identity(path) for path in self._paths]
        self._known_folder = _identity(self._folder)
        self.remember_sizes()

    def remember_sizes(self) -> None:
        """Take the present sizes for our own; call it after a commit and after a checkpoint."""
        self._sizes = [_size(path) for path in self._paths[: len(_SIZED)]]

    def are_in_place(self) -> bool:
        """Return whether every file still has its name and was not cut."""
        return not self.is_cut() and all(
            known is None or _identity(path) == known
            for path, known in zip(self._paths, self._known, strict=True)
        )

    def is_cut(self) -> bool:
        """Return whether one of our files ends earlier than we left it: its content is lost."""
        return any(
            _identity(path) == known and _size(path) < size
            for path, known, size in zip(self._paths, self._known, self._sizes, strict=False)
        )

    def holds_all(self, copy: Path) -> bool:
        """Return whether ``copy`` is at least as large as the database that we left."""
        return _size(copy) >= self._sizes[0]

    def is_same_folder(self) -> bool:
        """Return whether the folder of that name is the one in which the files were opened."""
        return _identity(self._folder) == self._known_folder

    def clear_names(self, quarantine: Path | None) -> None:
        """Free the three names: delete our own files, move foreign ones to ``quarantine``.

        Without a quarantine it deletes the foreign files too.
        """
        aside = None if quarantine is None else _new_folder(quarantine)
        for path, known in zip(self._paths, self._known, strict=True):
            found = _identity(path)
            if found is None:
                continue
            if found != known and aside is not None:
                aside.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.move(path, aside / path.name)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def copy_whole(connection: sqlite3.Connection, target: Path) -> None:
    """Write the complete committed content to ``target``, checked and synced.

    Raises sqlite3.Error and OSError; then ``target`` does not exist.
    """
    making = target.with_name(target.name + ".making")
    making.unlink(missing_ok=True)
    try:
        os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(making)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # a single file, without a log
            if copy.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("the copy is damaged")
        sync_file(making)
        making.replace(target)
    finally:
        making.unlink(missing_ok=True)
    sync_folder(target.parent)


def lost_name_error(path: Path, error: Exception) -> StorageFull:
    """Return the error of a file that lost its name and cannot be put back."""
    why = error.strerror if isinstance(error, OSError) else type(error).__name__
    return StorageFull(
        f"{path.name} was deleted, moved or replaced while clipperd ran, and clipperd cannot put"
        f" its content back ({why}). Nothing was stored.",
        hint=f"Put {path} back, or stop clipperd and start it again.",
        params={"cause": _LOST_NAME},
    )


def lost_name(error: ClipperdError) -> bool:
    """Return whether ``error`` says that a file lost its name and cannot be put back."""
    return error.params.get("cause") == _LOST_NAME


def _new_folder(quarantine: Path) -> Path:
    return next(
        folder
        for number in itertools.count(1)
        if not (folder := quarantine / f"{REPLACED}-{number}").exists()
    )


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _identity(path: Path) -> Identity | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
