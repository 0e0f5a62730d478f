"""A small disk for one daemon, which a test fills or makes read-only.

As root it mounts a tmpfs on the folder. Without root it limits the size of every file (EFBIG,
which SQLite and the daemon take for a full disk), and removes the permission to write.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE = "8m"
_PIECE = b"\0" * 65_536


class SmallDisk:
    """What befalls the disk of one folder."""

    def __init__(self, folder: Path) -> None:
        """Use :func:`narrow_disk`."""
        self.folder = folder
        self._ballast = folder / "ballast"
        options = ["-o", f"size={_SIZE},mode=0700", "tmpfs", str(folder)]
        self.is_mounted = _may("mount", "-t", "tmpfs", *options)

    @contextmanager
    def full(self, pid: int = 0) -> Iterator[None]:
        """Nothing more can be written, by process ``pid`` or by those that are started inside."""
        if not self.is_mounted:
            with _no_growth(pid):
                yield
            return
        with self._ballast.open("wb", buffering=0) as file:
            for piece in (_PIECE, b"\0"):
                with contextlib.suppress(OSError):
                    while file.write(piece):
                        pass
        try:
            yield
        finally:
            self._ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be changed. Nothing may be open on it."""
        if not self.is_mounted and os.geteuid() == 0:  # whom no rights hold up
            with _no_growth(0):
                yield
            return
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def remove(self) -> None:
        """Take it away, with all that is on it."""
        if self.is_mounted:
            assert _may("umount", str(self.folder))

    def _remount(self, how: str) -> None:
        if self.is_mounted:
            assert _may("mount", "-o", f"remount,{how}", str(self.folder))
            return
        for item in [self.folder, *self.folder.rglob("*")]:
            rights = 0o500 if item.is_dir() else 0o400
            item.chmod(rights if how == "ro" else rights | 0o200)


@contextmanager
def narrow_disk(folder: Path) -> Iterator[SmallDisk]:
    """Put ``folder`` (which is made) on a disk of its own."""
    folder.mkdir(mode=0o700, parents=True)
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.remove()


def _may(program: str, *words: str) -> bool:
    """Whether it could be done."""
    found = shutil.which(program)
    if found is None:
        return False
    return subprocess.run([found, *words], check=False, capture_output=True).returncode == 0


@contextmanager
def _no_growth(pid: int) -> Iterator[None]:
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
