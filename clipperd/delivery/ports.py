"""What the delivery engine is given: numbers from the settings, and what it asks of other parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

import msgspec

from clipperd.model import Scope
from clipperd.notion.port import Writes
from clipperd.settings.config import DEFAULTS


class Timeouts(msgspec.Struct, frozen=True):
    """Waits and bounds, in seconds; every one but ``settle_contested`` is a setting.

    ``settle_silent``: nobody answered, so Notion may still apply the write; its own limit for a
    request is 60 s (https://developers.notion.com/reference/request-limits), plus a margin.
    ``settle_answered``: Notion answered with an error, so nothing is under way any more.
    ``settle_contested``: how much longer is waited for the outcome of another program's write,
    which may have made what was found: Notion's limit and the life of a dead broker's lease.
    """

    settle_silent: float = DEFAULTS.settle_unknown_s
    settle_answered: float = DEFAULTS.settle_answered_s
    settle_contested: float = 90.0
    retry_base: float = DEFAULTS.retry_base_s
    retry_cap: float = DEFAULTS.retry_cap_s
    link_cap: float = 30.0
    keep_content: float = DEFAULTS.content_days * 86400.0
    parallel: int = DEFAULTS.max_parallel_pages


class StepResult(Enum):
    """What a lane's step leaves behind."""

    AGAIN = "again"
    LATER = "later"
    NOTHING = "nothing"
    MOVED = "moved"  # the lane goes on under another key: look at all lanes again


class Dependencies(msgspec.Struct, frozen=True):
    """What else the engine needs to know, each a plain callable.

    ``server_now`` is the server's time and never our own clock's, which may be wrong by a day and
    be set right before an outcome is settled: raises what ``Notion.send`` raises while no answer
    has told it.
    """

    active_user: Callable[[], str | None]
    bot_id: Callable[[Scope], Awaitable[str | None]]
    server_now: Callable[[Scope], Awaitable[float]]
    writes: Writes
    entropy: Callable[[int], bytes]
    rng: Callable[[], float]
