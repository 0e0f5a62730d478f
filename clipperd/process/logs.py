"""Writes the log: rotated JSON lines in which every known secret is masked.

Masking works on the finished line, so it covers arguments, extra fields and tracebacks. It also
masks unregistered secrets with a known pattern (JWTs, bearer headers, Notion tokens). Clip text
has no pattern, so the code must not log it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import sys
import traceback
from collections import OrderedDict
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

from clipperd.clock import rfc3339
from clipperd.errors import ClipperdError

FILES = 5  # the log and four rotated files
FILE_BYTES = 2 * 1024 * 1024
MASK = "[redacted]"
_MAX_VALUES = 1000  # registered secrets kept: access tokens rotate while the daemon runs
_MIN_LENGTH = 6  # masking shorter values would hide ordinary words
_PATTERNS = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}"
    r"|\b(?:ntn|secret)_[A-Za-z0-9]{16,}"
    r"|(?<=Bearer )[\w.~+/=-]{8,}"
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Redactor:
    """Masks the secret values of this process in any text."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, None] = OrderedDict()

    def add(self, value: str) -> None:
        """Mask ``value`` from now on; ignores very short values."""
        if len(value) < _MIN_LENGTH:
            return
        self._values[value] = None
        self._values.move_to_end(value)
        while len(self._values) > _MAX_VALUES:
            self._values.popitem(last=False)

    def mask(self, text: str) -> str:
        """Return ``text`` with every registered value masked, in plain or JSON-escaped form."""
        for value in list(self._values):
            for form in (value, json.dumps(value)[1:-1]):
                if form in text:
                    text = text.replace(form, MASK)
        return _PATTERNS.sub(MASK, text)


class _Lines(logging.Formatter):
    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return self._redactor.mask(json.dumps(line, default=str, ensure_ascii=False))


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> Any:
        # Mode 0600 from the first byte and at every rotation, regardless of the umask.
        return open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors=self.errors,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Drop the line on a disk error; the next one reopens the file.

        Python's handler would print the line unmasked, and never reopens a file that failed to
        close.
        """
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        stream, self.stream = self.stream, None  # as emit() expects it
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


class Logs:
    """The open log of this process."""

    def __init__(self, handlers: list[logging.Handler], redactor: Redactor) -> None:
        """Use :func:`start`."""
        self._handlers = handlers
        self.redactor = redactor

    def close(self) -> None:
        """Close the handlers and detach them."""
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk: unwritten lines are lost
                handler.close()


def start(
    level: str,
    file: Path,
    redactor: Redactor | None = None,
    *,
    screen: TextIO | None = None,
    file_bytes: int = FILE_BYTES,
) -> Logs:
    """Send the root logger to ``file`` and, if given, to ``screen`` (the same JSON lines)."""
    redactor = redactor or Redactor()
    handlers: list[logging.Handler] = [
        _PrivateFile(file, maxBytes=file_bytes, backupCount=FILES - 1, encoding="utf-8")
    ]
    if screen is not None:
        handlers.append(logging.StreamHandler(screen))
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(_Lines(redactor))
        root.addHandler(handler)
    root.setLevel(level.upper())
    # aiohttp's access log would write the URL of a sign-in callback, which holds a token.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    return Logs(handlers, redactor)


def screen_if_terminal() -> TextIO | None:
    """Return stderr if it is a terminal, else None."""
    return sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None


def describe(error: BaseException) -> dict[str, Any]:
    """Return an error's type, its stack and, if that is safe, its text."""
    # Only texts without user content are safe. SQLite's texts are, and have an errorname; those of
    # Python's sqlite3 module quote a cell.
    is_safe = isinstance(error, (ClipperdError, OSError)) or (
        isinstance(error, sqlite3.Error) and hasattr(error, "sqlite_errorname")
    )
    return {
        "type": type(error).__name__,
        "message": str(error) if is_safe else None,
        "trace": [
            f"{Path(f.filename).name}:{f.lineno} {f.name}"
            for f in traceback.extract_tb(error.__traceback__)
        ],
        "cause": type(error.__cause__).__name__ if error.__cause__ else None,
    }
