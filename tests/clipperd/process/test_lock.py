"""One daemon per home, after any end of the previous one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipperd.process import lock
from clipperd.process.errors import AlreadyRunning
from clipperd.settings.errors import ConfigInvalid

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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_file_system_that_cannot_lock_is_not_a_running_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)  # the system's call, as on NFS without lockd
    with pytest.raises(ConfigInvalid, match="cannot lock files"):
        lock.acquire(tmp_path / "lock")
    assert lock.holder(tmp_path / "lock") is None
