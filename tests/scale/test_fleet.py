"""Any number of brokers act as one: refreshes, write keys, push, late wakers, key rotation."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.scale.fleet import (
    BROKERS,
    PROXY,
    Answer,
    Fleet,
    a_key,
    a_newcomer,
    new_key,
    until,
)
from tests.scale.push import an_event, heard, post
from tests.servers.postgres import Postgres
from tests.stack.notion import APPEND

pytestmark = pytest.mark.e2e

MIRA = "mira@example.com"
REFUSED = {"database_unavailable"}  # nothing was sent to Notion
REFRESH_EVERY_S = 0.6  # a broker takes 120 token requests a minute from one address


def a_page(fleet: Fleet) -> str:
    return fleet.notion.page(f"Page {time.monotonic_ns()}", "# One").id


async def test_an_expired_token_is_refreshed_once_for_all(fleet: Fleet) -> None:
    page = a_page(fleet)
    fleet.notion.ask("PATCH", "config", {"token_ttl_s": 3600})
    async with a_newcomer(fleet, MIRA) as mira:
        fleet.notion.forget_calls()
        fleet.notion.ask("POST", "clock", {"advance_s": 4000})
        calls = [mira.call(n, "GET", f"{PROXY}pages/{page}") for n in range(24)]
        answers = await asyncio.gather(*calls)
        assert {answer.status for answer in answers} == {200}
        oauth = fleet.notion.ask("GET", "calls")["oauth"]["calls"]
        refreshes = [call for call in oauth if call["route"].endswith("/oauth/token")]
        assert len(refreshes) == 1, refreshes
    fleet.notion.ask("PATCH", "config", {"token_ttl_s": None})


async def test_a_key_is_executed_once_whichever_broker_hears_it(fleet: Fleet) -> None:
    page, key = a_page(fleet), a_key()
    async with a_newcomer(fleet, MIRA) as mira:
        fleet.notion.forget_calls()
        answers = await asyncio.gather(*(mira.append(n, page, "once", key) for n in range(6)))
        assert Counter(a.status for a in answers).keys() <= {200, 409}
        assert fleet.notion.calls()[APPEND] == 1
        assert fleet.notion.texts(page)[-1:] == ["once"]
        for number in range(BROKERS):
            again = await mira.append(number, page, "once", key)
            assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
        assert fleet.notion.calls()[APPEND] == 1


async def test_a_webhook_at_one_broker_reaches_the_daemons_of_all(fleet: Fleet) -> None:
    page = a_page(fleet)
    async with (
        a_newcomer(fleet, MIRA) as mira,
        ClientSession(timeout=ClientTimeout(20), headers=mira.headers) as http,
    ):
        streams = [await http.get(f"{url}/api/events") for url in fleet.urls]
        hearing = [heard(stream.content) for stream in streams]
        assert {(await anext(ear)).kind for ear in hearing} == {"ready"}
        event = an_event(mira.workspace, page)
        assert (await post(http, fleet.urls[2], event)) == 200
        assert (await post(http, fleet.urls[0], event)) == 200  # again: a duplicate
        told = [await anext(ear) for ear in hearing]
        assert {(one.kind, one.data["page_id"]) for one in told} == {("page", page)}
        assert len({one.seq for one in told}) == 1
        for stream in streams:
            stream.close()


async def test_a_broker_that_stands_still_in_a_write_sends_nothing_when_it_wakes(
    fleet: Fleet,
) -> None:
    page, key = a_page(fleet), a_key()
    async with a_newcomer(fleet, MIRA) as mira:
        # Notion asks everybody to wait, so the first broker holds the key and has sent nothing.
        throttled = {"route": APPEND, "kind": "429", "on": [1], "params": {"retry_after": 3}}
        fleet.notion.misbehave(throttled)
        fleet.notion.forget_calls()
        first = asyncio.ensure_future(mira.append(0, page, "late", key))
        await asyncio.to_thread(until, lambda: bool(fleet.notion.fired().get("429")))
        fleet.brokers[0].freeze()
        try:
            answer = Answer(0)
            end = time.monotonic() + 20
            while answer.headers.get("X-Broker-Code") in (None, "in_progress"):
                assert time.monotonic() < end, answer
                answer = await mira.append(1, page, "late", key)
                await asyncio.sleep(0.1)
            assert answer.headers["X-Broker-Code"] == "write_outcome_unknown", answer
        finally:
            fleet.brokers[0].thaw()
        late = await first
        assert late.headers["X-Broker-Code"] == "upstream_unavailable", late  # nothing was sent
        fleet.notion.behave()
        assert "late" not in fleet.notion.texts(page)


async def test_signing_keys_turn_over_without_a_failed_request(fleet: Fleet) -> None:
    old = fleet.setting("BROKER_SIGNING_KEYS")
    fresh = new_key()
    async with a_newcomer(fleet, MIRA) as mira:
        statuses: list[int] = []
        refreshes: list[int] = []
        done = asyncio.Event()

        async def load() -> None:
            refresh_at = time.monotonic()
            while not done.is_set():
                for number in range(BROKERS):
                    statuses.append((await mira.call(number, "GET", "/api/user/me")).status)
                    if time.monotonic() < refresh_at:
                        continue
                    refresh_at = time.monotonic() + REFRESH_EVERY_S
                    body = {
                        "grant_type": "refresh_token",
                        "refresh_token": mira.tokens["refresh_token"],
                    }
                    got = await mira.call(number, "POST", "/api/auth/token", body=body)
                    refreshes.append(got.status)
                    if got.status == 200:
                        mira.tokens |= got.body

        loading = asyncio.ensure_future(load())
        for keys in (f"{old},{fresh}", f"{fresh},{old}", fresh):
            for together in ((0, 1), (2,)):  # in between some have the new keys, and one the old
                await asyncio.gather(
                    *(
                        asyncio.to_thread(fleet.roll, number, BROKER_SIGNING_KEYS=keys)
                        for number in together
                    )
                )
        done.set()
        await loading
        for told in (statuses, refreshes):
            assert set(told) <= {0, 200}, Counter(told)  # 0: at the broker that was stopped
        assert statuses.count(200) > 20
        assert refreshes.count(200) > 1


async def test_where_the_audit_log_cannot_be_written_no_broker_opens_a_token(
    fleet: Fleet, postgres: Postgres
) -> None:
    page = a_page(fleet)
    async with a_newcomer(fleet, MIRA) as mira:

        async def asked() -> set[str]:
            calls = [mira.call(n, "GET", f"{PROXY}pages/{page}") for n in range(BROKERS)]
            answers = await asyncio.gather(*calls)
            return {answer.headers.get("X-Broker-Code", str(answer.status)) for answer in answers}

        assert await asked() == {"200"}
        postgres.sql("ALTER TABLE audit_log RENAME TO away", fleet.database)
        try:
            await _until(asked, REFUSED)
            fleet.notion.forget_calls()
            assert await asked() == REFUSED
            ended = await mira.call(0, "POST", "/api/auth/logout")  # nor is a session ended unseen
            assert ended.status == 503
            assert fleet.notion.calls() == {}
        finally:
            postgres.sql("ALTER TABLE away RENAME TO audit_log", fleet.database)
        await _until(asked, {"200"})
        assert fleet.command("cloud_broker", "audit", "verify")[0] == 0


async def _until(ask: Callable[[], Awaitable[set[str]]], expected: set[str]) -> None:
    end = time.monotonic() + 20
    while (found := await ask()) != expected:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.2)
