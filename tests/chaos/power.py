"""Cuts the power: shuts down ext4 on a loop mount under a real daemon, without a journal flush.

Only synced data is there after the next mount. A clip counts as acknowledged if its answer came
before the cut began: a sync in progress at the cut may succeed for the program and fail on the
disk, and without power no client would get the answer. The drive's own cache is not modelled: data
that ext4 sent to the disk counts as written. Needs root and a loop device.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from clipperd.client import Client
from clipperd.process import endpoint
from tests.chaos.crashes import PAGE, Findings, Producer, examine, know_an_account, posting, wait
from tests.stack.program import Program

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h
_NO_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk yet is lost
_SIZE = "384M"  # of which the log may take 64
_CUTS_PER_DISK = 20
# Clips a second of all producers together (0: as fast as they can), how many producers, and
# between how many seconds the cut comes.
PACES = ((1.0, 1, (2.0, 5.0)), (8.0, 4, (0.5, 3.0)), (0.0, 8, (0.2, 2.0)))


class Disk:
    """An ext4 file system in a file, mounted; :meth:`cut` takes its power."""

    def __init__(self, folder: Path) -> None:
        """Make it in ``folder``, not mounted yet."""
        self.root = folder / "mounted"
        self._image = folder / "disk.img"
        self.root.mkdir()
        _run("truncate", "-s", _SIZE, str(self._image))
        _run("mkfs.ext4", "-q", "-F", str(self._image))

    def mount(self) -> None:
        """Plug it in; the journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self.root))

    def cut(self) -> None:
        """Nothing that is not on the disk now will ever be."""
        handle = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        """Pull it out; nobody may have a file open there."""
        _run("umount", str(self.root))


@contextmanager
def a_disk() -> Iterator[Disk]:
    """A disk that is mounted, and unmounted at the end in any case."""
    folder = Path(tempfile.mkdtemp(prefix="clipperd-power-"))
    disk = Disk(folder)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk.root)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def obstacle() -> str | None:
    """Why power cannot be cut on this machine, or None."""
    if os.geteuid() != 0:
        return "only root may mount"
    if shutil.which("mkfs.ext4") is None:
        return "there is no mkfs.ext4"
    try:
        with a_disk() as disk:
            disk.cut()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"loop mounts or ext4's shutdown do not work here ({type(error).__name__})"
    return None


def cuts(count: int, seed: int, say: Callable[[str], None]) -> Findings:
    """Cut the power so often while a real daemon accepts clips, at three paces in turn."""
    rng = Random(f"power {seed}")
    total = Findings()
    for first in range(0, count, _CUTS_PER_DISK):
        with a_disk() as disk:
            home = disk.root / "daemon"
            know_an_account(home)
            _sync(disk)
            producers: list[Producer] = []
            here = Findings()
            for number in range(first, min(count, first + _CUTS_PER_DISK)):
                _one(disk, home, producers, here, number, rng)
            total.add(here)
            say(f"  {total}")
    return total


def _one(
    disk: Disk, home: Path, producers: list[Producer], found: Findings, number: int, rng: Random
) -> None:
    rate, threads, (earliest, latest) = PACES[number % len(PACES)]
    targets = [{"page_id": PAGE}]
    fresh = [Producer(f"p{number}.{n}", targets) for n in range(threads)]
    producers += fresh
    daemon = _daemon(home, disk.root.parent)
    client = Client(lambda: endpoint.read(home / "endpoint.json"))
    pause_s = 0.0 if rate == 0.0 else threads / rate
    _start(daemon, home)
    try:
        with posting(client, fresh, rng, pause_s=pause_s, large=0.1):
            wait(rng.uniform(earliest, latest))
            heard = [producer.acked for producer in fresh]
            disk.cut()
    finally:
        daemon.kill()
    for producer, last in zip(fresh, heard, strict=True):
        producer.acked = last
    disk.unmount()
    disk.mount()
    examine(home / "outbox.db", producers, found)


def _daemon(home: Path, outputs: Path) -> Program:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CLIPPERD_")}
    env |= {
        "CLIPPERD_HOME": str(home),
        "CLIPPERD_BROKER_URL": "http://127.0.0.1:9",  # nobody is there: clips wait
        "CLIPPERD_SECRETS": "memory",
    }
    return Program("daemon", ["clipperd", "run"], env, outputs / "daemon.txt")


def _start(daemon: Program, home: Path) -> None:
    file = home / "endpoint.json"

    def is_ready() -> bool:
        found = endpoint.read(file)  # the one of before the cut may be there, or half of it
        return found is not None and found.pid == daemon.pid

    daemon.start(is_ready)


def unsynced_rows_lost() -> int:
    """The counter-proof: how many of 20 rows are gone that were committed and not synced."""
    with a_disk() as disk:
        child = subprocess.Popen(
            [sys.executable, "-c", _UNSYNCED, str(disk.root / "a.db")], stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            disk.cut()
            child.kill()
        disk.unmount()
        disk.mount()
        connection = sqlite3.connect(disk.root / "a.db")
        try:
            found = connection.execute("SELECT count(*) FROM item").fetchone()[0]
        except sqlite3.Error:  # not even the table is there
            found = 0
        finally:
            connection.close()
        return 20 - int(found)


_UNSYNCED = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA synchronous=NORMAL")
connection.execute("CREATE TABLE item (n)")
for n in range(20):
    connection.execute("INSERT INTO item VALUES (?)", (n,))
print("committed", flush=True)
time.sleep(60)
"""


def _sync(disk: Disk) -> None:
    """The account was known long before the first cut."""
    disk.unmount()
    disk.mount()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
