"""The daemon and the folder in which its user typed: no import, no stay, no need of streams."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from clipperd.client import pause, until
from clipperd.keychain import sealing
from clipperd.keychain.child_process import in_subprocess
from clipperd.process import endpoint, lock
from tests.clipperd.cli.commands import run
from tests.clipperd.cli.test_lifecycle import ENV, home

pytestmark = pytest.mark.e2e
__all__ = ["home"]

ROOT = Path(__file__).parents[3]
STRAYS = ("secrets", "json", "types", "queue", "random", "brotli", "uvloop", "sitecustomize")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder with modules of its user, and change to it."""
    made = tmp_path / "typed here"
    made.mkdir()
    for name in STRAYS:
        (made / f"{name}.py").write_text(f"open({str(made / 'hijacked')!r}, 'a').write({name!r})")
    monkeypatch.chdir(made)
    yield made
    assert not (made / "hijacked").exists(), (made / "hijacked").read_text()


@pytest.mark.parametrize("path", [None, "", ":", "."])
def test_start_imports_nothing_from_the_folder_and_leaves_it(
    home: Path, folder: Path, path: str | None
) -> None:
    env = ENV if path is None else {**ENV, "PYTHONPATH": path}
    started = run(home, "start", "--json", env=env)
    assert started.code == 0, started.err
    pid = json.loads(started.out)["pid"]
    if sys.platform == "linux":
        assert Path(f"/proc/{pid}/cwd").resolve() == home


def test_the_keychain_process_imports_nothing_from_the_folder(folder: Path) -> None:
    with in_subprocess("clipperd.keychain.sealing", sealing.handle)() as ask:
        assert ask({"do": "derive", "material": "", "salt": ""})["key"]


@pytest.mark.parametrize("program", ["clipperd", "cloud_broker"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_program_runs_without_standard_streams(tmp_path: Path, program: str, closed: str) -> None:
    command = f"exec {sys.executable} -m {program} version {closed}"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_daemon_starts_without_standard_streams(home: Path) -> None:
    env = {**ENV, "CLIPPERD_HOME": str(home)}
    command = f"{sys.executable} -m clipperd start <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], env=env, check=False)
    assert done.returncode == 0
    assert lock.holder(home / "clipperd.lock") is not None


def test_a_deleted_lock_keeps_a_second_daemon_away(home: Path) -> None:
    _started(home)
    (home / "clipperd.lock").unlink()
    (home / "endpoint.json").unlink()
    assert run(home, "run", env=ENV).code == 3


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_lock_and_endpoint_are_written_again(home: Path) -> None:
    pid = _started(home)
    before = endpoint.read(home / "endpoint.json")
    (home / "clipperd.lock").unlink()
    (home / "endpoint.json").write_text("{}")
    (home / "endpoint.json").unlink()
    for _ in until(20):
        if endpoint.read(home / "endpoint.json") and lock.holder(home / "clipperd.lock"):
            break
        pause(0.02)
    assert endpoint.read(home / "endpoint.json") == before
    assert lock.holder(home / "clipperd.lock") == pid
    assert run(home, "stop", env=ENV).code == 0
    assert not (home / "endpoint.json").exists()


def test_health_answers_without_the_home(home: Path, tmp_path: Path) -> None:
    _started(home)
    found = endpoint.read(home / "endpoint.json")
    assert found is not None
    home.rename(tmp_path.with_name("gone"))
    try:
        checks = _checks(found)
    finally:
        tmp_path.with_name("gone").rename(home)
    assert checks["disk"]["severity"] == "error"
    assert "is gone" in checks["disk"]["detail"]
    assert checks["queue_store"]["severity"] == "error"
    assert "was deleted, moved or replaced" in checks["queue_store"]["detail"]
    assert _checks(found)["queue_store"]["severity"] == "ok"


def _checks(found: endpoint.Endpoint) -> dict[str, dict[str, str]]:
    headers = {"Authorization": f"Bearer {found.token}"}
    with urlopen(Request(f"{found.url}/v1/health", headers=headers)) as answer:
        return {check["id"]: check for check in json.load(answer)["checks"]}


def _started(home: Path) -> int:
    started = run(home, "start", "--json", env=ENV)
    assert started.code == 0, started.err
    return int(json.loads(started.out)["pid"])


def test_a_port_that_cannot_be_opened_is_named(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = run(home, "start", "--port", str(port), env=ENV)
    assert refused.code == 6
    assert f"The local API cannot be opened at port {port}: " in refused.err
