"""One daemon per home, after any end of the previous one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipperd.process import lock
from clipperd.process.errors import AlreadyRunning

HOLD = """
import sys, pathlib
from clipperd.process import lock
held = lock.acquire(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_start_names_the_first_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    first = lock.acquire(file)
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        lock.acquire(file)
    assert lock.holder(file) == os.getpid()
    first.release()
    assert lock.holder(file) is None
    lock.acquire(file).release()


def test_a_lock_file_alone_means_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("99999\n")
    assert lock.holder(file) is None
    lock.acquire(file).release()


def test_after_a_kill_nothing_blocks(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert lock.holder(file) == child.pid
        child.send_signal(signal.SIGKILL)
        child.wait()
        lock.acquire(file).release()
