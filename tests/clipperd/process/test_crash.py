"""The file that a crash leaves: enough to find the fault, and no text of the user."""

from __future__ import annotations

import faulthandler
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipperd.process import crash
from clipperd.process.crash import KEPT, LINES

_DYING = """
import sys
from clipperd.delivery import dispatch

async def run(self):
    raise RuntimeError("what a person wrote")

dispatch.Dispatcher.run = run
from clipperd.cli.main import main
sys.exit(main(["run"]))
"""


@pytest.fixture(autouse=True)
def _own_handler() -> Iterator[None]:
    """Give the fault handler of this process back to pytest."""
    yield
    faulthandler.enable(2)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "clipperd.log"
    file.write_text("".join(f'{{"message": "line {n}"}}\n' for n in range(200)))
    return file


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob("crash-*.txt"))


def test_a_clean_end_leaves_nothing(tmp_path: Path, log: Path) -> None:
    file = crash.begin(tmp_path, log, 1_790_000_000.0)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.close()
    assert left(tmp_path) == []


def test_an_error_leaves_its_stack_and_the_last_lines_but_not_its_text(
    tmp_path: Path, log: Path
) -> None:
    file = crash.begin(tmp_path, log, 1_790_000_000.0)
    try:
        raise ValueError("what a person wrote")
    except ValueError as error:
        file.write("the daemon", error)
    file.close()
    told = file.path.read_text()
    assert "ValueError" in told
    assert "test_crash.py" in told
    assert "what a person wrote" not in told
    assert [told.count(f'"line {n}"') for n in (199, 200 - LINES, 199 - LINES)] == [1, 1, 0]


def test_the_next_start_completes_the_crash_file_of_a_signal_once(
    tmp_path: Path, log: Path
) -> None:
    stacks = "Fatal Python error: Segmentation fault\n"
    (tmp_path / "crash-2026-11-22T100000-1.txt").write_text(stacks)
    (tmp_path / "crash-2026-11-22T110000-2.txt").write_text("")  # kill -9: nothing to tell
    crash.begin(tmp_path, log, 1_790_000_000.0).close()
    (found,) = left(tmp_path)
    told = found.read_text()
    assert told.startswith(stacks)
    assert told.count('"line 199"') == 1
    crash.begin(tmp_path, log, 1_790_000_001.0).close()
    assert found.read_text() == told


def test_only_the_newest_are_kept(tmp_path: Path, log: Path) -> None:
    for day in range(10, 20):
        (tmp_path / f"crash-2026-11-{day}T100000-1.txt").write_text("Fatal Python error\n")
    crash.begin(tmp_path, log, 1_790_000_000.0).close()
    assert [file.name[8 + 6 : 8 + 8] for file in left(tmp_path)] == ["16", "17", "18", "19"]
    assert len(left(tmp_path)) == KEPT - 1


def test_a_folder_that_refuses_stops_no_start(tmp_path: Path, log: Path) -> None:
    file = crash.begin(tmp_path / "absent", log, 1_790_000_000.0)
    file.write("the daemon", ValueError())
    file.close()
    assert file.path == Path(os.devnull)


def test_without_its_queue_the_daemon_ends_and_says_where_to_look(tmp_path: Path) -> None:
    env = {
        **{name: text for name, text in os.environ.items() if not name.startswith("CLIPPERD_")},
        "CLIPPERD_HOME": str(tmp_path),
        "CLIPPERD_SECRETS": "memory",
        "CLIPPERD_BROKER_URL": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", _DYING], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (found,) = left(tmp_path / "logs")
    assert str(found) in done.stderr
    told = found.read_text()
    assert "the task queue" in told
    assert '"ready"' in told
    everything = [
        done.stderr,
        *(f.read_text("utf-8", "replace") for f in (tmp_path / "logs").iterdir()),
    ]
    assert not any("what a person wrote" in each for each in everything)
    assert not (tmp_path / "endpoint.json").exists()
