"""One child process, known by its pid, with its output in a file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_READY_S = 40.0  # the machine may be busy with the rest of the suite
_LOOK_S = 0.03
_END_S = 6.0


class Program:
    """``python -m …``: started, waited for, killed, stopped, started again."""

    def __init__(self, name: str, argv: list[str], env: Mapping[str, str], output: Path) -> None:
        """Start nothing yet; ``argv`` follows ``python -m``."""
        self._name = name
        self._argv = [sys.executable, "-m", *argv]
        self._env = dict(env)
        self.output = output
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        assert self._child is not None
        return self._child.pid

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it and wait until ``is_ready``."""
        with self.output.open("ab") as output:
            self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,  # Ctrl-C is for the tests, which stop each in order
            )
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            assert self._child.poll() is None, f"{self._name} ended:\n{self.last_words()}"
            if is_ready():
                return
            time.sleep(_LOOK_S)
        raise AssertionError(f"{self._name} did not become ready:\n{self.last_words()}")

    def change(self, **variables: str) -> None:
        """What its environment holds at the next start."""
        self._env |= variables

    def kill(self) -> None:
        """kill -9."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    def freeze(self) -> None:
        """Let it stand still, as a laptop that sleeps or a machine that is starved does."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, politely first; nothing when it does not run."""
        if self._child is None or self._child.poll() is not None:
            return
        self.thaw()
        self._child.terminate()
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self._child is not None
        self._child.terminate()

    def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        assert self._child is not None
        return self._child.wait(_READY_S)

    def last_words(self) -> str:
        """The end of its output."""
        return "\n".join(self.output.read_text("utf-8", "replace").splitlines()[-12:])
