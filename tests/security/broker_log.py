"""Captures the broker's log of one process, to search it for secrets."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cloud_broker.monitoring.logs import JsonLines


@contextmanager
def broker_log(stream: io.StringIO) -> Iterator[None]:
    """What the broker would write to standard error; at debug, where most is written."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    # The sandbox's access lines: the broker's own command turns such off.
    handler.addFilter(lambda record: record.name != "aiohttp.access")
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel("DEBUG")
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
