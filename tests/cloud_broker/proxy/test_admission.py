"""Admission: the slots of one connection, and their release when a caller leaves."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from cloud_broker.limits.limiter import LimitCheck
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.proxy.admission import SEATS, Admission, Charge, Party
from cloud_broker.proxy.errors import LimitReached
from cloud_broker.proxy.routes import BY_NAME
from tests.cloud_broker.proxy.proxy_stage import QuickClock
from tests.cloud_broker.proxy.wired import DEFAULTS, budgets_of

ADA = Party("ada", "FREE", "of-ada", "w")
BOB = Party("bob", "FREE", "of-bob", "w")
ROUTE = BY_NAME["pages.get"]


def test_one_connection_cannot_hold_every_way_to_notion() -> None:
    admission = Admission(MemoryLimiter(), QuickClock(), budgets_of(DEFAULTS))
    with ExitStack() as held:
        for _ in range(SEATS + 6):
            held.enter_context(admission.seat(ADA))
        with pytest.raises(LimitReached), admission.seat(ADA):
            pass
        with admission.seat(BOB):
            pass
    with admission.seat(ADA):
        pass


async def test_a_probe_whose_caller_leaves_is_given_back() -> None:
    clock, limiter = QuickClock(), MemoryLimiter()
    admission = Admission(limiter, clock, budgets_of(DEFAULTS))
    breaker = "v1:{c:of-ada}:gate"
    for _ in range(5):  # strikes
        now = clock.monotonic()
        await limiter.on_throttled(breaker, now, entered=now, pause_s=0.001, counts=True)
        clock.shift += 1
    clock.shift += 61
    bucket = budgets_of(DEFAULTS).bucket()
    checks = [LimitCheck("connection", "v1:{c:of-ada}:bucket", bucket)]
    for _ in range(bucket.burst):  # so that who enters has to wait
        await limiter.decide(checks, (), clock.monotonic(), 0.0)
    task = asyncio.ensure_future(admission.enter(ADA, ROUTE, clock.monotonic() + 9, Charge.USER))
    await asyncio.sleep(0)  # it is the probe now, and waits to start
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    entered = await admission.enter(ADA, ROUTE, clock.monotonic() + 9, Charge.USER)
    assert breaker in entered.probes
