"""One release replaces another while both serve: today's programs with a later schema."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.scale.fleet import PROXY, Fleet, a_key, a_person
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.e2e

OLD, NEW = 0, 1
NEXT = "tests.scale.next_release"
MIRA = "mira@example.com"


@pytest.mark.parametrize("kept_in", ["sqlite", "postgres"])
async def test_todays_broker_serves_and_comes_back_beside_a_later_release(
    kept_in: str, tmp_path: Path, postgres: Postgres
) -> None:
    url = postgres.fresh()
    database = url if kept_in == "postgres" else f"sqlite:///{tmp_path / 'broker.db'}"
    fleet = Fleet(tmp_path, database, None, BROKER_LIMIT_SCALE="1000")
    try:
        fleet.open(1)
        fleet.replace(NEW, NEXT)
        await _upgraded_under_load(fleet)
        await _taken_away(fleet)
    finally:
        fleet.close()
        postgres.drop(url)


async def _upgraded_under_load(fleet: Fleet) -> None:
    page = fleet.notion.page("Page", "# One").id
    serving, done = [OLD], asyncio.Event()
    statuses: Counter[int] = Counter()
    written: list[str] = []
    async with a_person(fleet, MIRA) as mira:

        async def load(lane: int) -> None:
            """Sessions, reads and keyed writes, at each broker that serves."""
            turn = 0
            while not done.is_set():
                turn += 1
                for number in serving:
                    text = f"{lane}.{turn}.{number}"
                    answers = [
                        await mira.call(number, "GET", "/api/user/me"),
                        await mira.call(number, "GET", "/api/auth/sessions"),
                        await mira.call(number, "GET", f"{PROXY}pages/{page}"),
                        await mira.append(number, page, text, a_key()),
                    ]
                    statuses.update(answer.status for answer in answers)
                    written.extend([text] if answers[-1].status == 200 else [])
                await asyncio.sleep(0.05)

        async def answered(more: int) -> None:
            """Wait until the brokers have answered ``more`` calls."""
            enough = statuses.total() + more
            while statuses.total() < enough:
                assert not any(task.done() for task in loading)
                await asyncio.sleep(0.01)

        loading = [asyncio.ensure_future(load(lane)) for lane in range(2)]
        await answered(8)
        await asyncio.to_thread(fleet.start, NEW)  # migrates while the old one works
        serving.append(NEW)
        await answered(16)
        serving.remove(OLD)
        await answered(12)
        await asyncio.to_thread(fleet.brokers[OLD].kill)
        await asyncio.to_thread(fleet.start, OLD)  # on a schema that it does not know
        serving.append(OLD)
        await answered(16)
        done.set()
        await asyncio.gather(*loading)
        body = {"grant_type": "refresh_token", "refresh_token": mira.tokens["refresh_token"]}
        assert (await mira.call(OLD, "POST", "/api/auth/token", body=body)).status == 200
    assert set(statuses) == {200}, statuses
    assert sorted(fleet.notion.texts(page)[1:]) == sorted(written)
    assert {text.rpartition(".")[2] for text in written} == {str(OLD), str(NEW)}


async def _taken_away(fleet: Fleet) -> None:
    today, later = "cloud_broker", NEXT
    code, told = fleet.command(today, "migrate", "--check")
    assert (code, "A later version has added to it: later/001" in told) == (0, True), told
    code, told = fleet.command(today, "audit", "verify")
    assert code == 0, told
    fleet.brokers[OLD].stop()
    code, told = fleet.command(later, "migrate", "--contract")
    assert (code, told.startswith("1 migrations applied.")) == (0, True), told
    code, told = fleet.command(today, "run")
    assert (code, "removed tables or columns that this one needs: later/0" in told) == (5, True), (
        told
    )
    async with a_person(fleet, MIRA, at=NEW) as mira:
        assert (await mira.call(NEW, "GET", "/api/user/me")).status == 200
