"""Reads key rings from a setting, or from a file that other users cannot read.

To add a provider (a vault, a key management service), add a class to ``SOURCES``; each ring gets a
setting for it. The broker reads each source once, before it starts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cloud_broker.settings.parsers import Keys, keys

FILE_MAX_BYTES = 64 * 1024  # some hundred keys and their comments
_OPEN_TO_OTHERS = 0o027  # the group may read: orchestrators mount secrets that way


class KeySource(Protocol):
    """A place that holds a key ring."""

    suffix: str  # of the ring's setting
    help: str  # how its text differs, a sentence; "" for the ring itself

    def read(self, text: str) -> Keys:
        """Return the ring that the setting's ``text`` names.

        Raises ValueError with a sentence that quotes neither a key nor the file.
        """


class KeysInSetting:
    """The text is the ring: ``kid:base64,…``."""

    suffix = ""
    help = ""

    def read(self, text: str) -> Keys:
        """Parse it."""
        return keys(text)


class KeysInFile:
    """The text is the path of a file that holds ``kid:base64``, one a line or comma-separated.

    Lines that begin with ``#`` are comments.
    """

    suffix = "_FILE"
    help = (
        "File with the same keys, one a line, closed to other accounts; use it instead of the list."
    )

    def __init__(self, account: Callable[[], int] = os.geteuid) -> None:
        """``account`` returns the user id that may own the file, besides root."""
        self._account = account

    def read(self, text: str) -> Keys:
        """Read and parse the file."""
        content = _content(Path(text), {0, self._account()})
        lines = [line.strip().rstrip(",") for line in content.splitlines()]
        return keys(",".join(line for line in lines if line and not line.startswith("#")))


SOURCES: tuple[KeySource, ...] = (KeysInSetting(), KeysInFile())


def _content(path: Path, owners: set[int]) -> str:
    try:
        # O_NONBLOCK: do not wait for the writer of a pipe, which is refused below.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            _check(os.fstat(handle), owners)
            raw = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if len(raw) > FILE_MAX_BYTES:
        raise ValueError(f"the file has more than {FILE_MAX_BYTES} bytes")
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("the file is not plain text") from None


def _check(about: os.stat_result, owners: set[int]) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("must be the path of a file")
    if about.st_mode & _OPEN_TO_OTHERS:
        raise ValueError("others can read or change the file: chmod 0400 (or 0440) it")
    if about.st_uid not in owners:
        raise ValueError("the file belongs to another account of this machine")
