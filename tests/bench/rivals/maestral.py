"""Starts Maestral, a Dropbox client with a Python daemon on a socket, linked to no account.

Without an account its sync engine and long poll do not run, so a linked Maestral costs more than
the figures here show.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench.measure import Spent, cpu_of, spent
from tests.bench.rivals.installed import python_with

_LOOK_S = 0.002
_PATIENCE_S = 120.0
_DAEMON = "from maestral.daemon import start_maestral_daemon; start_maestral_daemon('bench')"
_MODULES = "import maestral.daemon, maestral.main"


class Maestral:
    """Installed in a folder, with a home of its own there."""

    def __init__(self, folder: Path) -> None:
        """Install it. Raises Missing."""
        self._home = folder / "maestral"
        self._home.mkdir(parents=True)
        self._python = str(python_with(folder, "maestral"))

    def imported(self, env: Mapping[str, str]) -> Spent:
        """What the import of its daemon takes."""
        return spent([self._python, "-c", _MODULES], self._at_home(env))

    def first_answer(self, env: Mapping[str, str]) -> Spent:
        """From the start of the daemon until its socket takes a connection."""
        begun = time.perf_counter()
        with self.running(env) as child:
            return Spent(time.perf_counter() - begun, cpu_of(child.pid))

    @contextmanager
    def running(self, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon whose socket takes connections."""
        quiet = subprocess.DEVNULL
        argv = [self._python, "-c", _DAEMON]
        child = subprocess.Popen(argv, env=self._at_home(env), stdout=quiet, stderr=quiet)
        try:
            end = time.perf_counter() + _PATIENCE_S
            while not self._answers():
                assert child.poll() is None, "maestral ended"
                assert time.perf_counter() < end, "maestral did not become ready"
                time.sleep(_LOOK_S)
            yield child
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()
            for left in self._home.rglob("bench.sock"):
                left.unlink()

    def _answers(self) -> bool:
        for path in self._home.rglob("bench.sock"):
            with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
                line.connect(str(path))
                return True
        return False

    def _at_home(self, env: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in env.items() if not name.startswith("XDG_")}
        return {
            **kept,
            "HOME": str(self._home),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
