"""A network namespace on a virtual cable that a test can pull; needs root, on Linux."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEWNET = 0x40000000  # CLONE_NEWNET of <sched.h>
_NUMBERS = itertools.count(1)


class Cable:
    """Two ends with an address each: ``near`` is in this namespace, ``far`` in one of its own."""

    def __init__(self) -> None:
        """Lay it. Raises OSError or CalledProcessError where that is not allowed."""
        number = next(_NUMBERS)
        self.name = f"desk{os.getpid()}-{number}"
        # 198.18.0.0/15 is for tests between networks (RFC 2544): nobody's address.
        net = f"198.18.{os.getpid() % 256}.{number * 4 % 256}".rpartition(".")
        self.near, self.far = f"{net[0]}.{int(net[2]) + 1}", f"{net[0]}.{int(net[2]) + 2}"
        self._plug = f"n{os.getpid()}-{number}"
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self._plug, "type", "veth", "peer", "eth0", "netns", self.name)
            _ip("addr", "add", f"{self.near}/30", "dev", self._plug)
            self._far("addr", "add", f"{self.far}/30", "dev", "eth0")
            self._far("link", "set", "lo", "up")
            self._far("link", "set", "eth0", "up")
            _ip("link", "set", self._plug, "up")
        except BaseException:
            self.remove()
            raise

    def pull(self) -> None:
        """The link goes down at the far end: its routes go with it."""
        self._far("link", "set", "eth0", "down")

    def plug(self) -> None:
        """The link comes up again."""
        self._far("link", "set", "eth0", "up")

    def renumber(self) -> None:
        """The far end gets another address in place of its own."""
        own, other = f"{self.far}/30", f"{self.near}/30"
        self._far("addr", "del", own, "dev", "eth0")
        self._far("addr", "add", other, "dev", "eth0")

    @contextmanager
    def at_the_far_end(self) -> Iterator[None]:
        """Sockets and processes that this thread makes inside belong there, and stay there."""
        libc = ctypes.CDLL(None, use_errno=True)
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(Path("/run/netns") / self.name, os.O_RDONLY)
        try:
            assert libc.setns(there, _NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(here, _NEWNET) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(here)
            os.close(there)

    def remove(self) -> None:
        """Take it away; both ends of the cable go with the namespace."""
        _ip("netns", "del", self.name)

    def _far(self, *words: str) -> None:
        _ip("-n", self.name, *words)


@contextmanager
def laid() -> Iterator[Cable | None]:
    """A cable, or None where this process may not lay one."""
    try:
        cable = Cable()
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield cable
    finally:
        cable.remove()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
