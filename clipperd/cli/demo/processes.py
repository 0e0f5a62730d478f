"""Starts, kills and stops the demo's three programs, each by its own pid."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from clipperd.cli.demo.web import DemoFailed, fetch
from clipperd.client import Client, answers_of, pause, until
from clipperd.process import endpoint, interpreter

_READY_TIMEOUT_S = 30.0
_POLL_S = 0.05
_STOP_TIMEOUT_S = 5.0
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interruption:
    """Raises KeyboardInterrupt on Ctrl-C, SIGTERM or a closed terminal, but not inside ``Popen``.

    After the fork it would lose the child's pid, so it is deferred until ``Popen`` has returned.
    """

    def __init__(self) -> None:
        self._is_deferred = False
        self._has_come = False

    def listen(self) -> None:
        """Install the signal handlers."""
        for name in _SIGNALS:
            if hasattr(signal, name):  # Windows has no SIGHUP
                signal.signal(getattr(signal, name), self._handle)

    def ignore(self) -> None:
        """Ignore the signals, so that a second Ctrl-C does not leave programs running."""
        for name in _SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer an interruption until the end of the block."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self._has_come:
            raise KeyboardInterrupt

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._has_come = True
        if not self._is_deferred:
            raise KeyboardInterrupt


class Program:
    """One child process that writes its output to a file."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        env: Mapping[str, str],
        output: Path,
        interruption: Interruption,
    ) -> None:
        """``argv`` follows ``python -m``; :meth:`start` runs it."""
        self._interruption = interruption
        self._name = name
        self._argv = interpreter.command(*argv)
        self._env = interpreter.environment(dict(env))
        self._output = output
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the running program."""
        assert self._child is not None
        return self._child.pid

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it and wait until ``is_ready``. Raises DemoFailed with the end of its output."""
        with self._output.open("ab") as output, self._interruption.deferred():
            self._child = subprocess.Popen(  # noqa: S603  # our own programs
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._output.parent,
                # Ctrl-C must reach only the demo, which stops the programs in order.
                start_new_session=True,
            )
        for _ in until(_READY_TIMEOUT_S):
            if self._child.poll() is not None:
                raise DemoFailed(f"The {self._name} failed to start:\n{self._last_output()}")
            if is_ready():
                return
            pause(_POLL_S)
        raise DemoFailed(f"The {self._name} did not become ready:\n{self._last_output()}")

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        """Terminate it, kill it after a timeout; do nothing when it does not run."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _last_output(self) -> str:
        lines = self._output.read_text("utf-8", "replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-8:])


class Programs:
    """Sandbox, broker and daemon in one temporary folder."""

    def __init__(self, folder: Path, env: Mapping[str, str], interruption: Interruption) -> None:
        """``env``: the user's environment, from which the settings of both programs are removed."""
        self._interruption = interruption
        self.folder = folder
        base = {k: v for k, v in env.items() if not k.startswith(("CLIPPERD_", "BROKER_"))}
        self._base = base
        self._ready_file = folder / "sandbox.url"
        self.sandbox_url = ""
        self.broker_url = f"http://127.0.0.1:{_free_port()}"
        self.daemon_env = {
            "CLIPPERD_HOME": str(folder / "daemon"),
            "CLIPPERD_BROKER_URL": self.broker_url,
            # In memory the session would not survive the kill -9.
            "CLIPPERD_SECRETS": "file",
            "CLIPPERD_SECRETS_PASSPHRASE": secrets.token_urlsafe(18),
        }
        self._sandbox = Program(
            "sandbox",
            ["cloud_broker", "sandbox", "--port", "0", "--ready-file", str(self._ready_file)],
            base,
            folder / "sandbox.txt",
            interruption,
        )
        self._broker: Program | None = None
        self._broker_env = {
            "BROKER_HOST": "127.0.0.1",
            "BROKER_PORT": self.broker_url.rpartition(":")[2],
            "BROKER_PUBLIC_URL": self.broker_url,
            "BROKER_DATABASE_URL": f"sqlite:///{folder / 'broker.db'}",
            "BROKER_NOTION_CLIENT_ID": "sandbox-client",
            "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
            "BROKER_ENCRYPTION_KEYS": _new_key(),
            "BROKER_SIGNING_KEYS": _new_key(),
        }
        self.daemon = Program(
            "daemon",
            ["clipperd", "run"],
            base | self.daemon_env,
            folder / "daemon.txt",
            interruption,
        )
        self.client = Client(lambda: endpoint.read(folder / "daemon" / "endpoint.json"))

    def open_sandbox(self) -> None:
        """Start the sandbox and read its address."""
        self._sandbox.start(self._ready_file.exists)
        self.sandbox_url = self._ready_file.read_text("utf-8").strip().rstrip("/")

    def open_broker(self) -> None:
        """Start the broker, each time on the same port and database."""
        env = self._base | self._broker_env | {"BROKER_NOTION_API_URL": self.sandbox_url}
        self._broker = Program(
            "broker", ["cloud_broker", "run"], env, self.folder / "broker.txt", self._interruption
        )
        self._broker.start(lambda: _answers(f"{self.broker_url}/readyz"))

    def close_broker(self) -> None:
        """Stop the broker."""
        if self._broker is not None:
            self._broker.stop()

    def open_daemon(self) -> None:
        """Start the daemon and wait until this process has proven its identity."""

        def is_ready() -> bool:
            # A new client each time: endpoint.json of a killed daemon still exists.
            file = self.folder / "daemon" / "endpoint.json"
            found = answers_of(Client(lambda: endpoint.read(file)))
            return found is not None and found.pid == self.daemon.pid

        self.daemon.start(is_ready)

    def close(self) -> None:
        """Stop the programs in reverse order."""
        self.daemon.stop()
        self.close_broker()
        self._sandbox.stop()


def _free_port() -> int:
    """Return a free port; the broker must know its address before it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _new_key() -> str:
    return "k1:" + base64.b64encode(os.urandom(32)).decode()


def _answers(url: str) -> bool:
    try:
        return fetch("GET", url)[0] == 200
    except OSError:
        return False
