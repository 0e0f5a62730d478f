"""``run``, ``start``, ``stop``, ``restart`` with the real daemon in its own process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clipperd.client import pause, until
from clipperd.keychain.sealed_file import FileSecrets
from clipperd.process import endpoint, lock
from tests.clipperd.cli.commands import Result, run

pytestmark = pytest.mark.e2e

ENV = {
    **os.environ,
    "CLIPPERD_SECRETS": "memory",
    "CLIPPERD_BROKER_URL": "http://127.0.0.1:9",  # nobody listens on the discard port
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    pid = lock.holder(tmp_path / "clipperd.lock")
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def _run(home: Path, *argv: str) -> Result:
    return run(home, *argv, env=ENV)


def _started(home: Path) -> int:
    result = _run(home, "start", "--json")
    assert result.code == 0, result.err
    pid = json.loads(result.out)["pid"]
    assert isinstance(pid, int)
    return pid


def test_start_returns_when_the_daemon_answers_and_stop_ends_it(home: Path) -> None:
    pid = _started(home)
    found = endpoint.read(home / "endpoint.json")
    assert found is not None
    assert found.pid == pid == lock.holder(home / "clipperd.lock")
    assert f"process {pid}" in _run(home, "status").out
    stopped = _run(home, "stop")
    assert (stopped.code, stopped.out) == (
        0,
        "clipperd has stopped. Your waiting clips are kept.\n",
    )
    assert not (home / "endpoint.json").exists()
    assert lock.holder(home / "clipperd.lock") is None


@pytest.mark.parametrize("verb", ["start", "run"])
def test_a_second_start_exits_3_naming_the_first(home: Path, verb: str) -> None:
    pid = _started(home)
    found = endpoint.read(home / "endpoint.json")
    assert found is not None
    second = _run(home, verb)
    assert second.code == 3
    assert f"{found.url} (process {pid})" in second.err


def test_after_a_kill_it_starts_again_with_the_same_token(home: Path) -> None:
    pid = _started(home)
    before = endpoint.read(home / "endpoint.json")
    os.kill(pid, signal.SIGKILL)
    _wait_for_end(home)
    assert "did not end cleanly" in _run(home, "status").out
    assert _started(home) != pid
    after = endpoint.read(home / "endpoint.json")
    assert before is not None
    assert after is not None
    assert (after.token, after.port) == (before.token, before.port)
    assert after.instance_id != before.instance_id


def test_restart_replaces_the_process(home: Path) -> None:
    pid = _started(home)
    result = _run(home, "restart", "--json")
    assert result.code == 0
    assert json.loads(result.out)["pid"] != pid


def test_restart_starts_what_does_not_run(home: Path) -> None:
    assert _run(home, "restart").code == 0


def test_stop_without_a_daemon_is_no_error(home: Path) -> None:
    result = _run(home, "stop")
    assert (result.code, result.out) == (0, "clipperd is not running.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_stop_ends_a_daemon_whose_endpoint_is_lost(home: Path) -> None:
    _started(home)
    (home / "endpoint.json").unlink()
    assert _run(home, "stop").code == 0
    assert lock.holder(home / "clipperd.lock") is None


def test_a_start_that_fails_says_why_and_how(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = _run(home, "start", "--port", str(taken.getsockname()[1]))
    assert result.code == 6
    assert "The daemon failed to start (exit 6)" in result.err
    assert "clipperd run" in result.err


def test_a_port_that_somebody_took_meanwhile_is_no_error(home: Path) -> None:
    _started(home)
    before = endpoint.read(home / "endpoint.json")
    _run(home, "stop")
    assert before is not None
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", before.port))
        taken.listen()
        _started(home)
    after = endpoint.read(home / "endpoint.json")
    assert after is not None
    assert after.port != before.port
    _run(home, "restart")
    again = endpoint.read(home / "endpoint.json")
    assert again is not None
    assert again.port == after.port  # the one last used


def _newer_schema(home: Path) -> None:
    with closing(sqlite3.connect(home / "outbox.db")) as database:
        database.execute("PRAGMA user_version = 1000")


def _other_passphrase(home: Path) -> None:
    asyncio.run(FileSecrets(home / "secrets.json", passphrase="another one").set("a", "1"))


@pytest.mark.parametrize(
    ("code", "change", "settings"),
    [
        (4, None, {"CLIPPERD_PORT": "many"}),
        (5, _newer_schema, {}),
        (7, _other_passphrase, {"CLIPPERD_SECRETS": "file", "CLIPPERD_SECRETS_PASSPHRASE": "mine"}),
        (7, None, {"CLIPPERD_SECRETS": "file"}),
    ],
)
def test_a_daemon_that_cannot_start_says_so_by_its_exit_code(
    home: Path, code: int, change: Callable[[Path], None] | None, settings: dict[str, str]
) -> None:
    if change is not None:
        change(home)
    env = {**ENV, "CLIPPERD_HOME": str(home), **settings}
    done = subprocess.run(
        [sys.executable, "-m", "clipperd", "run"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("clipperd: ")
    assert "Traceback" not in done.stderr


def test_everything_under_the_home_is_private(home: Path) -> None:
    _started(home)
    loose = [p for p in home.rglob("*") if p.stat().st_mode & 0o077]
    assert loose == []
    assert home.stat().st_mode & 0o077 == 0


def _wait_for_end(home: Path) -> None:
    for _ in until(10):
        if lock.holder(home / "clipperd.lock") is None:
            return
        pause(0.02)
