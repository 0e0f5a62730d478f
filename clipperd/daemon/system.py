"""What the daemon takes from its machine, so that a simulation can be that machine."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable

import msgspec

from clipperd.broker.http import AiohttpHttp, Http
from clipperd.clock import SystemClock
from clipperd.keychain.secrets import Secrets
from clipperd.machine.linux import EventSources, of_this_system
from clipperd.machine.os_events import OsEvents


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The machine.

    ``entropy(n)``: n bytes that cannot be guessed; ``rng``: a number in [0, 1); ``http``: the way
    out; ``secrets``: where the session's secret is kept, None for the place that is set;
    ``notices``: what it tells unasked; ``slept``: seconds that it has ever stood still. ``chance``:
    n random bytes for names, which are no secrets; ``entropy`` where there is none.
    """

    http: Http = msgspec.field(default_factory=AiohttpHttp)
    entropy: Callable[[int], bytes] = secrets.token_bytes
    rng: Callable[[], float] = random.SystemRandom().random
    secrets: Secrets | None = None
    notices: OsEvents = msgspec.field(default_factory=EventSources)
    slept: Callable[[], float] = lambda: 0.0
    chance: Callable[[int], bytes] | None = None

    @classmethod
    def real(cls) -> System:
        """The machine that this process runs on."""
        return cls(
            notices=of_this_system(), slept=SystemClock().slept, chance=Pool(secrets.token_bytes)
        )

    def new_id(self) -> str:
        """An id of 128 random bits."""
        return (self.chance or self.entropy)(16).hex()


class Pool:
    """Random bytes that are drawn from the system some thousand at a time.

    Each draw lets go of the interpreter's lock, and getting that back from a thread which writes
    to the disk can take milliseconds. One thread uses it.
    """

    def __init__(self, draw: Callable[[int], bytes], size_bytes: int = 4096) -> None:
        """``draw(n)`` gives n bytes; at most ``size_bytes`` are asked for here."""
        self._draw = draw
        self._size_bytes = size_bytes
        self._drawn = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        """``count`` bytes that were given to nobody before."""
        if len(self._drawn) - self._at < count:
            self._drawn, self._at = self._draw(self._size_bytes), 0
        self._at += count
        return self._drawn[self._at - count : self._at]
