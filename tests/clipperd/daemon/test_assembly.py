"""The composition root builds the daemon without starting it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from clipperd.daemon.assembly import Publisher, assemble
from clipperd.daemon.background import ActiveAccount
from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.daemon.system import System
from clipperd.settings.config import load
from clipperd.settings.locations import locate, secure
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from clipperd.web.hub import EventHub
from tests.clocks import SkippingClock


async def test_assembling_starts_no_task(tmp_path: Path) -> None:
    settings = load({}, {"home": str(tmp_path), "secrets": "memory"}, "")
    locations = locate(tmp_path)
    secure(locations)
    outbox = Database.open(locations.outbox, name="outbox", steps=STEPS, synchronous="FULL")
    cache = open_cache(locations.cache, CACHE_STEPS)
    before = asyncio.all_tasks()
    daemon = await assemble(settings, locations, outbox, cache, System())
    assert asyncio.all_tasks() == before
    assert (await daemon.session.view()).state == "signed_out"
    health = await daemon.health.report(0.0)
    assert [check.id for check in health.checks if check.severity != "ok"] == ["secrets", "link"]
    await daemon.close()
    cache.close()
    outbox.close()


async def test_events_belong_to_the_signed_in_user_but_a_session_event_to_all() -> None:
    active, changes = ActiveAccount(), list[str]()
    active.user_id = "ada"
    hub = EventHub(SkippingClock())
    publisher = Publisher(hub, active, on_session=lambda: changes.append("session"))
    for type_ in ("clip", "session"):
        publisher.publish(type_, {})
    publisher.publish("clip", {}, user_id="eve")
    assert [event.user_id for event in hub._ring] == ["ada", None, "eve"]
    assert changes == ["session"]
