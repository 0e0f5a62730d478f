"""What is left when the daemon ends by a fault: a file with stacks and the last lines of the log.

Python's faulthandler writes into it when the process dies of a signal such as SIGSEGV: file
names, line numbers, functions, never a value. The lines come from the log, where secrets were
masked; after a signal nobody could copy them, so the next start does it.
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

KEPT = 5
LINES = 50
_HEAD = b"\nThe last lines of the log:\n"
_NAMES = "crash-*.txt"


class CrashFile:
    """Open while the daemon runs; gone after a clean end."""

    def __init__(self, path: Path, file: BinaryIO, log: Path) -> None:
        """Use :func:`begin`."""
        self.path = path
        self._file = file
        self._log = log

    def write(self, what: str, error: BaseException) -> None:
        """Note that ``what`` ended by ``error``, of which only places and types are told."""
        with contextlib.suppress(OSError):  # a full disk: the log has said it, or cannot either
            told = {"ended": what, "error": describe(error)}
            self._file.write(json.dumps(told, indent=1).encode() + b"\n" + _tail(self._log))

    def close(self) -> None:
        """End without a fault, or with one that is written down."""
        faulthandler.disable()
        self._file.close()
        if self.path.is_file() and self.path.stat().st_size == 0:
            self.path.unlink()


def begin(folder: Path, log: Path, now: float) -> CrashFile:
    """Complete what an earlier process left, keep the newest few, and be ready for a fault.

    Call it before the log is written to. ``now``: epoch seconds. Where the disk is full or refuses,
    a fault leaves nothing.
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
        left.unlink()  # killed, or the power went: there is nothing to tell
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
