"""The simulation's loop: one order, its own time, and processes that can be killed or halted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.chaos.sim.loop import Loop, Process, Stuck, play


def test_hours_pass_in_no_time_and_in_order() -> None:
    seen: list[tuple[str, float]] = []

    async def work(loop: Loop) -> None:
        async def note(name: str, after_s: float) -> None:
            await asyncio.sleep(after_s)
            seen.append((name, loop.time()))

        await asyncio.gather(note("late", 7200), note("soon", 1), note("also soon", 1))

    play(work)
    assert seen == [("soon", 1.0), ("also soon", 1.0), ("late", 7200.0)]


def test_what_waits_for_nothing_is_told() -> None:
    async def work(_: Loop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        play(work)


def test_a_killed_process_runs_no_more_not_even_to_clean_up() -> None:
    ran: list[str] = []

    async def life() -> None:
        try:
            while True:
                await asyncio.sleep(1)
                ran.append("step")
        finally:
            ran.append("cleaned up")

    async def work(loop: Loop) -> list[str]:
        process = Process("p", loop)
        _ = process.start(life())
        loop.call_at(2.5, process.kill)
        await asyncio.sleep(10)
        return list(ran)

    assert play(work) == ["step", "step"]


def test_a_process_dies_at_the_very_callback_that_was_chosen() -> None:
    async def life(seen: list[int]) -> None:
        for n in range(10):
            seen.append(n)
            await asyncio.sleep(0)

    async def work(loop: Loop) -> list[list[int]]:
        told = []
        for dies_at in (1, 2, 5):
            process, seen = Process("p", loop), []  # type: ignore[var-annotated]
            process.dies_at = dies_at
            _ = process.start(life(seen))
            await asyncio.sleep(1)
            told.append(seen)
        return told

    assert play(work) == [[], [0], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("still", "expected"), [("freeze", [1.0, 5.0, 5.0]), ("suspend", [1.0, 5.5, 6.5])]
)
def test_the_timers_of_a_frozen_process_go_on_and_those_of_a_sleeping_machine_stand(
    still: str, expected: list[float]
) -> None:
    async def work(loop: Loop) -> list[float]:
        seen: list[float] = []
        process = Process("p", loop)

        async def timers() -> None:
            for after_s in (1.0, 2.0, 3.0):
                loop.call_later(after_s, lambda: seen.append(loop.time()))

        _ = process.start(timers())
        loop.call_at(1.5, getattr(process, still))
        loop.call_at(5.0, process.wake)
        await asyncio.sleep(20)
        return seen

    assert play(work) == expected


def test_work_of_a_thread_has_its_turn_in_the_same_order_each_time() -> None:
    async def work(_: Loop) -> list[Any]:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(None, lambda: "first")
        second = asyncio.to_thread(lambda: "second")
        return [await first, await second]

    assert play(work) == ["first", "second"]
