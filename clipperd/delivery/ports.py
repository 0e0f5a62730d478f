"""Hold the settings and callables that the delivery engine depends on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

import msgspec

from clipperd.model import Scope
from clipperd.notion.port import Writes
from clipperd.outbox.identity import Run
from clipperd.settings.config import DEFAULTS


class Timeouts(msgspec.Struct, frozen=True):
    """Waits and bounds, in seconds; every one but ``settle_contested_s`` is a setting.

    ``settle_silent_s``: no answer came, so Notion may still apply the write; its own limit for a
    request is 60 s (https://developers.notion.com/reference/request-limits), plus a margin.
    ``settle_answered_s``: Notion answered with an error, so nothing is in flight.
    ``settle_contested_s``: the extra wait for the outcome of another program's write, which may
    have made the blocks that were found: Notion's limit and the lease of a dead broker.
    """

    settle_silent_s: float = DEFAULTS.settle_unknown_s
    settle_answered_s: float = DEFAULTS.settle_answered_s
    settle_contested_s: float = 90.0
    retry_base_s: float = DEFAULTS.retry_base_s
    retry_cap_s: float = DEFAULTS.retry_cap_s
    offline_cap_s: float = 30.0
    keep_content_s: float = DEFAULTS.content_days * 86400.0
    max_lanes: int = DEFAULTS.max_parallel_pages


class Failure(msgspec.Struct, frozen=True):
    """The newest failed attempt of an account since its last success; ``at`` in epoch seconds."""

    user_id: str
    code: str
    message: str
    at: float


class StepResult(Enum):
    """The result of a lane's step, for the dispatcher."""

    AGAIN = "again"
    LATER = "later"
    NOTHING = "nothing"
    MOVED = "moved"  # the lane continues under another key: look at all lanes again


class Dependencies(msgspec.Struct, frozen=True):
    """The callables that the engine depends on.

    ``server_now`` returns the server's time, not our clock's: ours may be wrong by a day, and may
    be corrected before an outcome is resolved. Raises as ``Notion.send`` until an answer has
    reported it. ``run`` is this process, for the broker's memory of the queue.
    """

    active_user: Callable[[], str | None]
    bot_id: Callable[[Scope], Awaitable[str | None]]
    server_now: Callable[[Scope], Awaitable[float]]
    writes: Writes
    entropy: Callable[[int], bytes]
    rng: Callable[[], float]
    run: Run
