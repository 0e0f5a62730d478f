"""The judge of crashes finds each kind of damage; a real daemon leaves none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clipperd.daemon.schema import STEPS
from clipperd.model import Scope
from clipperd.outbox import accept
from clipperd.storage.database import Database
from tests.chaos import kills, power
from tests.chaos.crashes import PAGE, WORKSPACE, Findings, Producer, examine
from tests.clipperd.drafts import a_draft


def stored(file: Path, *keys: str) -> None:
    """Accept one clip under each key."""

    async def work() -> None:
        db = Database.open(file, name="outbox", steps=STEPS, synchronous="FULL")
        for key in keys:
            draft = a_draft(Scope("user", WORKSPACE), PAGE, "x", idempotency_key=key)
            named: dict[str, Any] = {"clip_id": key, "ids": [f"d{key}"], "now": 0.0}
            await db.write(partial(accept.accept, draft=draft, **named))
        db.close()

    asyncio.run(work())


def examined(file: Path, *, acked: int, posted: int) -> Findings:
    found = Findings()
    examine(file, [Producer("p", [], acked=acked, posted=posted)], found)
    return found


def test_what_is_all_there_is_clean(tmp_path: Path) -> None:
    stored(tmp_path / "outbox.db", "p-1", "p-2", "p-3")
    found = examined(tmp_path / "outbox.db", acked=2, posted=3)
    assert (found.wrong, found.acked, found.unanswered) == (False, 2, 1)


def test_an_acknowledged_clip_that_is_missing_is_lost(tmp_path: Path) -> None:
    stored(tmp_path / "outbox.db", "p-1")
    found = examined(tmp_path / "outbox.db", acked=2, posted=3)
    assert (found.lost, found.holes) == ({"p-2"}, set())


def test_a_later_clip_without_the_one_before_is_a_hole(tmp_path: Path) -> None:
    stored(tmp_path / "outbox.db", "p-1", "p-3")
    found = examined(tmp_path / "outbox.db", acked=1, posted=3)
    assert (len(found.holes), found.lost) == (1, set())


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    stored(file, *(f"p-{n}" for n in range(1, 40)))
    raw = bytearray(file.read_bytes())
    tables = raw.index(b"p-17")
    raw[tables - 40 : tables] = b"\xff" * 40
    file.write_bytes(raw)
    assert examined(file, acked=0, posted=0).damaged


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_a_crash_loses_no_acknowledged_clip(
    record_property: Callable[[str, object], None],
) -> None:
    """By real power cuts where root may mount a disk of its own, else by kill -9."""
    why = power.obstacle()
    if why is None:
        assert power.unsynced_rows_lost() == 20, "the cut is none: what was not synced is there"
        found, how = power.cuts(3, 1, lambda _: None), "power cuts"
    else:
        found, how = kills.kills(3, 1, lambda _: None).files, f"kill -9, since {why}"
    record_property("table: crashes of a daemon that accepts", f"{how}: {found}")
    assert not found.wrong, (found.lost, found.holes, found.damaged)
    assert found.acked > 20
