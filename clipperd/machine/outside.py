"""What the daemon takes from its machine, so that a simulation can be that machine."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable

import msgspec

from clipperd.clock import SystemClock
from clipperd.machine.notices import Notices, Several, of_this_system
from clipperd.session.keychain import Secrets
from clipperd.transport import AiohttpHttp, Http


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """The machine.

    ``entropy(n)``: n bytes that cannot be guessed; ``rng``: a number in [0, 1); ``http``: the way
    out; ``secrets``: where the session's secret is kept, None for the place that is set;
    ``notices``: what it tells unasked; ``slept``: seconds that it has ever stood still.
    """

    http: Http = msgspec.field(default_factory=AiohttpHttp)
    entropy: Callable[[int], bytes] = secrets.token_bytes
    rng: Callable[[], float] = random.SystemRandom().random
    secrets: Secrets | None = None
    notices: Notices = msgspec.field(default_factory=Several)
    slept: Callable[[], float] = lambda: 0.0

    @classmethod
    def real(cls) -> Outside:
        """The machine that this process runs on."""
        return cls(notices=of_this_system(), slept=SystemClock().slept)

    def new_id(self) -> str:
        """An id of 128 random bits."""
        return self.entropy(16).hex()
