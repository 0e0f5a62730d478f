"""The daemon's queue before the broker's limits, on virtual time: see ``pacing_simulation``."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.clipperd.memory_notion import SCOPE
from tests.contract.pacing_simulation import (
    BROKER,
    BUCKET,
    HIGH,
    LOW,
    NORMAL,
    PATIENT,
    UNTOLD,
    WINDOW,
    Limits,
    Queue,
    measured,
    play,
)


@pytest.mark.parametrize(
    ("limits", "per_second", "minutes"),
    [
        pytest.param(BROKER, 20 / 60, 10, id="20 appends in any minute"),
        pytest.param(PATIENT, 20 / 60, 10, id="20 a minute, and a broker that waits"),
        pytest.param(BUCKET, 2.5, 2, id="2.5 a second, 6 at once"),
        pytest.param(WINDOW, 3.0, 3, id="180 in any minute"),
        pytest.param(UNTOLD, 3.0, 4, id="180 in any minute, found out by the 429"),
    ],
)
def test_a_deep_queue_uses_95_percent_of_a_limit_and_is_refused_once_in_a_hundred_at_most(
    tmp_path: Path, limits: Limits, per_second: float, minutes: int
) -> None:
    pages = int(per_second * 60 * minutes / 4) + 10
    seen = measured(tmp_path, limits, minutes=minutes, pages=pages, each=5)
    assert seen.used(per_second, 0, 60 * minutes) >= 0.95
    assert seen.share_refused <= 0.01


@pytest.mark.parametrize("limits", [BROKER, PATIENT], ids=["strict", "patient"])
def test_an_import_of_5000_clips_delays_a_persons_clip_to_another_page_by_less_than_a_second(
    tmp_path: Path, limits: Limits
) -> None:
    async def script(queue: Queue) -> tuple[list[float], list[float], int]:
        page = queue.world.add_page("Notes")
        alone = [await queue.clip(page)]
        await asyncio.sleep(60)
        await queue.fill(500, 10, (LOW, NORMAL))
        amid = []
        for wait_s in (0.0, 5.0, 61.0, 63.7, 75.0, 90.1):  # before, at and after the limit is hit
            await asyncio.sleep(wait_s)
            amid.append(await queue.clip(page))
        return alone, amid, len(queue.world.seen.taken)

    alone, amid, taken = play(tmp_path, limits, script)
    assert taken > 75  # of some 100: the import had its part meanwhile
    assert max(amid) - min(alone) < 1.0, amid


@pytest.mark.parametrize("limits", [BROKER, PATIENT, BUCKET], ids=["strict", "patient", "bucket"])
def test_a_clip_amid_the_first_reading_of_a_large_workspace_goes_out_at_once(
    tmp_path: Path, limits: Limits
) -> None:
    async def script(queue: Queue) -> tuple[list[float], list[float], list[int]]:
        page = queue.world.add_page("Notes")
        alone = [await queue.clip(page) for _ in range(3)]
        await asyncio.sleep(60)
        amid, known = [], []
        async with queue.indexing(4_000) as index:
            for wait_s in (0.1, 0.4, 1.1, 2.9, 3.0, 3.1, 17.7, 30.3):  # with a call, between two
                await asyncio.sleep(wait_s)
                amid.append(await queue.clip(page))
                known.append((await index.index_status(SCOPE)).count)
        return alone, amid, known

    alone, amid, known = play(tmp_path, limits, script)
    assert max(amid) - max(alone) < 0.3, amid
    assert 0 < known[1] <= 120  # a list to choose from was there after the first call
    assert 1_500 < known[-1] < 4_000  # it went on all the time, and is not yet done


def test_who_clips_amid_an_import_has_room_for_a_clip_to_five_pages_at_once(
    tmp_path: Path,
) -> None:
    async def script(queue: Queue) -> list[float]:
        pages = [queue.world.add_page(f"Notes {number}") for number in range(5)]
        await queue.fill(60, 5, (LOW, NORMAL))
        await asyncio.sleep(100)
        await queue.clip(pages[0])
        await asyncio.sleep(30)
        return list(await asyncio.gather(*(queue.clip(page) for page in pages)))

    assert max(play(tmp_path, BROKER, script)) < 1.0


def test_what_waits_behind_a_persons_clip_on_its_page_does_not_use_the_share_kept_for_people(
    tmp_path: Path,
) -> None:
    async def script(queue: Queue) -> float:
        page = queue.world.add_page("Notes")
        await queue.put([page], 1, [HIGH])
        await queue.put([page], 60, [NORMAL])
        await asyncio.sleep(130)
        return await queue.clip(queue.world.add_page("Other"))

    assert play(tmp_path, BROKER, script) < 1.0


@pytest.mark.parametrize("limits", [BROKER, WINDOW, UNTOLD], ids=["told", "wide", "untold"])
def test_the_end_is_foretold_within_a_fifth_once_answers_have_come(
    tmp_path: Path, limits: Limits
) -> None:
    async def script(queue: Queue) -> tuple[float, float]:
        await queue.fill(50, 1 if limits is BROKER else 7)
        await asyncio.sleep(20)
        foretold = await queue.eta_s()
        assert foretold is not None
        for second in range(0, 600, 4):
            if await queue.eta_s() is None:
                return foretold, float(second)
            await asyncio.sleep(4)
        raise AssertionError("it is never empty")

    foretold, took = play(tmp_path, limits, script)
    assert took > 50
    assert foretold == pytest.approx(took, rel=0.2)


def test_pages_take_turns_while_a_limit_binds(tmp_path: Path) -> None:
    async def script(queue: Queue) -> Counter[str]:
        await queue.fill(4, 60)
        await asyncio.sleep(300)
        return Counter(path for _, path, _ in queue.world.writes)

    turns = play(tmp_path, BROKER, script)
    assert len(turns) == 4
    assert max(turns.values()) - min(turns.values()) <= 2
