"""Writes files that only their owner may read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from clipperd.storage.disk import sync_folder


def write_private(path: Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` to ``path`` atomically, with mode 0600 from the first byte.

    ``durable``: sync file and folder, so that it survives a power cut; takes some 20 ms.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)
