"""A laptop is closed and opened again: the daemon continues immediately."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipperd.broker.http import AiohttpHttp, Answer
from clipperd.daemon.system import System
from clipperd.errors import BrokerUnreachable
from cloud_broker.sandbox import seed
from tests.clipperd.machine.fake_os_events import FakeOsEvents
from tests.security.whole_system import a_house

pytestmark = pytest.mark.timeout(120)

_HOUR_S = 3600.0
_NIGHT_S = 8 * _HOUR_S


class Plug(AiohttpHttp):
    """The way out, which can be pulled; nothing is told when it is in again."""

    is_in = True

    async def request(self, *given: Any, **more: Any) -> Answer:
        if not self.is_in:
            raise BrokerUnreachable("Nothing can be reached.", sent=False)
        return await super().request(*given, **more)


async def test_a_clip_that_would_wait_for_an_hour_goes_out_as_soon_as_the_machine_wakes(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    patient = {"CLIPPERD_RETRY_BASE_S": str(_HOUR_S), "CLIPPERD_RETRY_CAP_S": str(_HOUR_S)}
    plug, os_events, slept = Plug(), FakeOsEvents(), [0.0]
    machine = System(http=plug, os_events=os_events, slept=lambda: slept[0], rng=lambda: 0.9)
    async with a_house(tmp_path, **patient) as house, house.daemon(system=machine) as daemon:
        await daemon.sign_in(user=seed.MIRA, workspace=seed.WORKSPACE)
        plug.is_in = False
        clip = await daemon.clip(seed.EMPTY_PAGE, "written on the train")
        link = daemon.parts.connectivity
        while link.status.state != "offline":  # noqa: ASYNC110 - as a client would look
            await asyncio.sleep(0.02)
        plug.is_in = True  # the lid is closed, the train arrives, the lid is opened
        slept[0] += _NIGHT_S
        woken = time.monotonic()
        os_events.happen()
        assert (await daemon.settled(clip["id"]))["state"] == "delivered"
        took_s = time.monotonic() - woken
    record_property("table: Seconds from waking to the delivery", f"{took_s:.1f}")
