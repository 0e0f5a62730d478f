"""Writes a crash file: stack traces and the last lines of the log.

When the process dies of a signal such as SIGSEGV, Python's faulthandler writes file names, line
numbers and functions, never a value. The log's lines have their secrets masked; after a signal
the next start appends them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
from pathlib import Path
from typing import BinaryIO

from clipperd.clock import rfc3339
from clipperd.process.logs import describe

KEPT = 5  # files
LINES = 50  # of the log
_HEAD = b"\nThe last lines of the log:\n"
_NAMES = "crash-*.txt"


class CrashFile:
    """The file of this run; deleted at a clean exit."""

    def __init__(self, path: Path, file: BinaryIO, log: Path) -> None:
        """Use :func:`begin`."""
        self.path = path
        self._file = file
        self._log = log

    def write(self, part: str, error: BaseException) -> None:
        """Record that ``error`` ended ``part``; of the error only its type and places."""
        with contextlib.suppress(OSError):  # a full disk
            report = {"ended": part, "error": describe(error)}
            self._file.write(json.dumps(report, indent=1).encode() + b"\n" + _tail(self._log))

    def close(self) -> None:
        """Close the file; delete it when it is empty."""
        faulthandler.disable()
        self._file.close()
        if self.path.is_file() and self.path.stat().st_size == 0:
            self.path.unlink()


def begin(folder: Path, log: Path, now: float) -> CrashFile:
    """Complete the crash files of earlier runs, delete the oldest, open the file of this run.

    Call it before the log is written to. ``now``: epoch seconds. On a disk error the crash file
    of this run is lost.
    """
    stamp = rfc3339(now).replace(":", "").partition(".")[0]
    path = folder / f"crash-{stamp}-{os.getpid()}.txt"
    try:
        for left in folder.glob(_NAMES):
            _complete(left, log)
        for old in sorted(folder.glob(_NAMES))[: -(KEPT - 1)]:
            old.unlink()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        path = Path(os.devnull)
        handle = os.open(path, os.O_WRONLY)
    file = os.fdopen(handle, "wb", buffering=0)
    faulthandler.enable(file)
    return CrashFile(path, file, log)


def _complete(left: Path, log: Path) -> None:
    content = left.read_bytes()
    if not content:
        left.unlink()  # killed, or a power cut
    elif _HEAD not in content:
        with left.open("ab") as file:
            file.write(_tail(log))


def _tail(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LINES * 4096))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        lines = []
    return _HEAD + b"".join(lines[-LINES:])
