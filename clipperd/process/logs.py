"""The log: JSON lines, rotated, with every known secret masked by its value.

Masking works on the finished line, so that a secret cannot get past it inside an argument, an
extra field or a traceback. Shapes that are secrets wherever they appear (JWTs, bearer headers,
Notion tokens) are masked too, registered or not. Clip text has no shape: code does not log it.
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

FILES = 5
FILE_BYTES = 2 * 1024 * 1024
MASK = "[redacted]"
_MANY = 1000  # registered values kept: access tokens rotate for as long as the daemon runs
_SHORTEST = 6  # masking shorter values would eat ordinary words
_SHAPES = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}"
    r"|\b(?:ntn|secret)_[A-Za-z0-9]{16,}"
    r"|(?<=Bearer )[\w.~+/=-]{8,}"
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Redactor:
    """The secret values of this process; ``mask`` hides them in any text."""

    def __init__(self) -> None:
        """Start with none."""
        self._values: OrderedDict[str, None] = OrderedDict()

    def add(self, value: str) -> None:
        """Mask ``value`` from now on. Very short values are ignored."""
        if len(value) < _SHORTEST:
            return
        self._values[value] = None
        self._values.move_to_end(value)
        while len(self._values) > _MANY:
            self._values.popitem(last=False)

    def mask(self, text: str) -> str:
        """Return ``text`` without any registered value, in plain or JSON-escaped form."""
        for value in list(self._values):
            for form in (value, json.dumps(value)[1:-1]):
                if form in text:
                    text = text.replace(form, MASK)
        return _SHAPES.sub(MASK, text)


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
        # 0600 from the first byte, at every rotation too, whatever the umask says.
        return open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors=self.errors,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """A full disk costs the line; the next one finds the file opened anew.

        Python's own way would print the line unmasked, and leaves the file closed for ever when
        its closing fails.
        """
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        stream, self.stream = self.stream, None  # as emit() expects it
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


class Logs:
    """The open log of one process."""

    def __init__(self, handlers: list[logging.Handler], redactor: Redactor) -> None:
        """Keep what ``start`` opened."""
        self._handlers = handlers
        self.redactor = redactor

    @property
    def level(self) -> str:
        """The level in force: debug, info, warning or error."""
        return logging.getLevelName(logging.getLogger().level).lower()

    def set_level(self, level: str) -> None:
        """Change the level while running."""
        logging.getLogger().setLevel(level.upper())

    def close(self) -> None:
        """Flush, close and detach."""
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk: what was not written is lost
                handler.close()


def start(
    level: str,
    file: Path,
    redactor: Redactor | None = None,
    *,
    screen: TextIO | None = None,
    file_bytes: int = FILE_BYTES,
) -> Logs:
    """Send the root logger to ``file`` and, when given, to ``screen`` (the same JSON lines)."""
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
    # aiohttp's access log names every URL, and a sign-in callback's URL carries its token.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    return Logs(handlers, redactor)


def screen_if_terminal() -> TextIO | None:
    """Return stderr when a person is looking at it: in the background the file is enough."""
    return sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None


def describe(error: BaseException) -> dict[str, Any]:
    """What may be told of an error: its type, where it was and, where that is safe, its text."""
    # Only errors whose text is known to be free of user content may speak for themselves.
    # SQLite's sentences are, and come with its name for them; Python's own module quotes a cell.
    speaks = isinstance(error, (ClipperdError, OSError)) or (
        isinstance(error, sqlite3.Error) and hasattr(error, "sqlite_errorname")
    )
    return {
        "type": type(error).__name__,
        "message": str(error) if speaks else None,
        "trace": [
            f"{Path(f.filename).name}:{f.lineno} {f.name}"
            for f in traceback.extract_tb(error.__traceback__)
        ],
        "cause": type(error.__cause__).__name__ if error.__cause__ else None,
    }
