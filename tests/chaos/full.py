"""Fills the disk under a running daemon for a while: a small tmpfs, or a limit on file sizes."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from pathlib import Path

_SIZE = "48m"
_PIECE = b"\0" * 65_536


class FullDisk:
    """Root gives the daemon's home a small tmpfs and fills it up (ENOSPC). Anybody else forbids
    the process to let any file grow (EFBIG), which SQLite takes for the same.
    """

    def __init__(self) -> None:
        """Nothing is prepared yet."""
        self.how = "limit on the size of files"
        self._home: Path | None = None
        self._pid = 0
        self._soft = 0

    def prepare(self, home: Path) -> None:
        """Before the daemon starts for the first time."""
        if os.geteuid() != 0:
            return
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tmpfs", str(home)]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            self.how, self._home = "tmpfs", home

    def fill(self, pid: int, home: Path) -> None:
        """From now on nothing can be added."""
        if self._home is None:
            self._pid = pid
            self._soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            largest = max((f.stat().st_size for f in home.glob("*.db*")), default=0)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, hard))
            return
        ballast = self._home / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_PIECE)

    def free(self) -> None:
        """There is room again."""
        if self._home is not None:
            (self._home / "ballast").unlink(missing_ok=True)
        elif self._pid:
            _, hard = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (self._soft, hard))
            self._pid = 0

    def close(self) -> None:
        """After the daemon has ended for good."""
        if self._home is not None:
            subprocess.run(["umount", str(self._home)], check=True, capture_output=True)
