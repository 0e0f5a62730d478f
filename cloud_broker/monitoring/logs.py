"""Logs JSON lines to standard error, with the request's id and without request contents."""

from __future__ import annotations

import logging
import sys
import traceback
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

import msgspec

from cloud_broker.clock import rfc3339

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonLines(logging.Formatter):
    """Renders a record as one line of JSON.

    It shows the type and the trace of an exception, but not its text, which may quote a request.
    ``extra={"fields": {…}}`` adds members.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render ``record``."""
        line: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = REQUEST_ID.get()
        if request_id is not None:
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            if (sqlstate := _sqlstate(record.exc_info[1])) is not None:
                line["sqlstate"] = sqlstate
            line["trace"] = [
                f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return msgspec.json.encode(line).decode()


def _sqlstate(error: BaseException | None) -> str | None:
    """Return PostgreSQL's code for ``error``, or for the one that caused it."""
    while error is not None:
        if (code := getattr(error, "sqlstate", None)) is not None:
            return str(code)
        error = error.__cause__
    return None


def set_up(level: str, stream: TextIO | None = None) -> None:
    """Send all logging to ``stream`` (standard error by default) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Skip fields that no line shows: https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # aiohttp's access lines contain whole URLs; web/problems.py writes ours.
    logging.getLogger("aiohttp.access").disabled = True
