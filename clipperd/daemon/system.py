"""The parts of the machine that the daemon uses; a simulation replaces them."""

from __future__ import annotations

import base64
import os
import random
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from clipperd.broker.http import Http
from clipperd.clock import Clock, SystemClock
from clipperd.keychain.secrets import Secrets
from clipperd.machine.linux import EventSources, folder_events, system_events
from clipperd.machine.os_events import OsEvents


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The machine: time, environment, network, randomness, keychain, events.

    ``entropy(n)`` returns n unguessable bytes and ``id_bytes(n)`` n random bytes for ids, which
    are no secrets (default: ``entropy``). ``rng``: a number in [0, 1). ``secrets``: the keychain,
    and ``http``: the network; by default those of the settings. ``home_events``: deletions in the
    folder of the files.
    ``slept``: seconds that the machine has ever been suspended.
    """

    clock: Clock = msgspec.field(default_factory=SystemClock)
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    http: Http | None = None
    entropy: Callable[[int], bytes] = secrets.token_bytes
    rng: Callable[[], float] = random.SystemRandom().random
    secrets: Secrets | None = None
    os_events: OsEvents = msgspec.field(default_factory=EventSources)
    home_events: Callable[[Path], OsEvents] = lambda _folder: EventSources()
    slept: Callable[[], float] = lambda: 0.0
    id_bytes: Callable[[int], bytes] | None = None

    @classmethod
    def real(cls) -> System:
        """Return the machine that this process runs on."""
        return cls(
            env=os.environ,
            os_events=system_events(),
            home_events=folder_events,
            slept=SystemClock().slept,
            id_bytes=RandomPool(secrets.token_bytes),
        )

    def new_id(self) -> str:
        """Return an id of 128 random bits."""
        return (self.id_bytes or self.entropy)(16).hex()

    def new_token(self) -> str:
        """Return a token of 256 unguessable bits as URL-safe text."""
        return base64.urlsafe_b64encode(self.entropy(32)).rstrip(b"=").decode("ascii")


class RandomPool:
    """Draws random bytes from the system in blocks. Use it from one thread.

    Each draw releases the interpreter's lock; getting it back from a thread that writes to the
    disk can take milliseconds.
    """

    def __init__(self, draw: Callable[[int], bytes], size_bytes: int = 4096) -> None:
        """``draw(n)`` returns n bytes; at most ``size_bytes`` are asked for here."""
        self._draw = draw
        self._size_bytes = size_bytes
        self._drawn = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        """Return ``count`` bytes that were not returned before."""
        if len(self._drawn) - self._at < count:
            self._drawn, self._at = self._draw(self._size_bytes), 0
        self._at += count
        return self._drawn[self._at - count : self._at]
