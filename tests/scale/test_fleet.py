"""Any number of brokers act as one: limits, refreshes, keys of writes, revocations, push."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.scale.fleet import (
    BROKERS,
    PROXY,
    WEBHOOK_TOKEN,
    Answer,
    Fleet,
    a_key,
    a_person,
    new_key,
    until,
)
from tests.servers.redis import RedisServer
from tests.stack.notion import APPEND

pytestmark = pytest.mark.e2e

MIRA = "mira@example.com"
ROUTE_LIMIT = 30  # of GET blocks/:id, a minute and user (seed section 3.2)
REFRESH_EVERY_S = 0.6  # a broker takes 120 token requests a minute from one address


def a_page(fleet: Fleet) -> str:
    return fleet.notion.page(f"Page {time.monotonic_ns()}", "# One").id


async def test_limits_hold_together_while_brokers_are_killed_and_come_back(fleet: Fleet) -> None:
    page = a_page(fleet)
    async with a_person(fleet, MIRA) as mira:
        seen: list[tuple[int, Answer]] = []
        deaths: Counter[int] = Counter()

        async def ask(number: int) -> None:
            for _ in range(30):
                answer = await mira.call(number, "GET", f"{PROXY}blocks/{page}")
                seen.append((number, answer))
                if answer.status == 0:
                    await asyncio.sleep(0.05)

        async def kill_in_turn() -> None:
            for number in range(BROKERS):
                await asyncio.to_thread(fleet.brokers[number].kill)
                deaths[number] += 1
                await asyncio.to_thread(fleet.start, number)

        await asyncio.gather(kill_in_turn(), *(ask(n % BROKERS) for n in range(9)))
        count = Counter(answer.status for _, answer in seen)
        assert count[200] == ROUTE_LIMIT, count
        assert set(count) <= {0, 200, 429}, count
        refused = [a for _, a in seen if a.status == 429]
        assert all(int(a.headers["Retry-After"]) >= 1 for a in refused)
        assert {a.headers["X-Broker-Code"] for a in refused} == {"limit_route"}


async def test_an_expired_token_is_refreshed_once_for_all(fleet: Fleet) -> None:
    page = a_page(fleet)
    fleet.notion.ask("PATCH", "config", {"token_ttl_s": 3600})
    async with a_person(fleet, MIRA) as mira:
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
    async with a_person(fleet, MIRA) as mira:
        fleet.notion.forget_calls()
        answers = await asyncio.gather(*(mira.append(n, page, "once", key) for n in range(6)))
        assert Counter(a.status for a in answers).keys() <= {200, 409}
        assert fleet.notion.calls()[APPEND] == 1
        assert fleet.notion.texts(page)[-1:] == ["once"]
        for number in range(BROKERS):
            again = await mira.append(number, page, "once", key)
            assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
        assert fleet.notion.calls()[APPEND] == 1


async def test_a_revoked_session_ends_everywhere_within_five_seconds(fleet: Fleet) -> None:
    async with a_person(fleet, MIRA) as mira:
        for number in range(BROKERS):  # each has taken the session for good now
            assert (await mira.call(number, "GET", "/api/user/me")).status == 200
        sessions = (await mira.call(1, "GET", "/api/auth/sessions")).body["sessions"]
        mine = next(each["id"] for each in sessions if each.get("current"))
        ended_at = time.monotonic()
        assert (await mira.call(1, "DELETE", f"/api/auth/sessions/{mine}")).status == 204
        for number in range(BROKERS):
            while (await mira.call(number, "GET", "/api/user/me")).status == 200:
                assert time.monotonic() - ended_at < 5.5
                await asyncio.sleep(0.05)
        assert time.monotonic() - ended_at < 5.5


async def test_a_webhook_at_one_broker_reaches_the_daemons_of_all(fleet: Fleet) -> None:
    page = a_page(fleet)
    async with (
        a_person(fleet, MIRA) as mira,
        ClientSession(timeout=ClientTimeout(20), headers=mira.headers) as http,
    ):
        streams = [await http.get(f"{url}/api/events") for url in fleet.urls]
        for stream in streams:
            assert (await _next(stream.content))[0] == "ready"
        event = _an_event(mira.workspace, page)
        assert (await _post(http, fleet.urls[2], event)) == 200
        assert (await _post(http, fleet.urls[0], event)) == 200  # again: a duplicate
        told = [await _next(stream.content) for stream in streams]
        assert {(kind, data["page_id"]) for kind, data in told} == {("page", page)}
        for stream in streams:
            stream.close()


async def test_a_broker_that_stands_still_in_a_write_sends_nothing_when_it_wakes(
    fleet: Fleet,
) -> None:
    page, key = a_page(fleet), a_key()
    async with a_person(fleet, MIRA) as mira:
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
    async with a_person(fleet, MIRA) as mira:
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
            for number in range(BROKERS):
                await asyncio.to_thread(fleet.roll, number, BROKER_SIGNING_KEYS=keys)
        done.set()
        await loading
        for told in (statuses, refreshes):
            assert set(told) <= {0, 200}, Counter(told)  # 0: at the broker that was stopped
        assert statuses.count(200) > 20
        assert refreshes.count(200) > 1


async def test_without_redis_nobody_gets_an_error(fleet: Fleet, redis_server: RedisServer) -> None:
    page = a_page(fleet)
    async with a_person(fleet, MIRA) as mira:
        redis_server.kill()
        try:
            answers = [await mira.append(n, page, f"clip {n}", a_key()) for n in range(9)]
            assert {answer.status for answer in answers} == {200}
            ready = await mira.call(0, "GET", "/readyz")
            assert ready.status == 200
        finally:
            redis_server.start()
        assert fleet.notion.texts(page)[-9:] == [f"clip {n}" for n in range(9)]


def _an_event(workspace: str, page: str) -> bytes:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {
        "id": a_key(),
        "timestamp": stamp,
        "workspace_id": workspace,
        "type": "page.content_updated",
        "authors": [{"id": "somebody", "type": "person"}],
        "entity": {"id": page, "type": "page"},
    }
    return json.dumps(event).encode()


async def _post(http: ClientSession, url: str, raw: bytes) -> int:
    sign = "sha256=" + hmac.new(WEBHOOK_TOKEN.encode(), raw, hashlib.sha256).hexdigest()
    headers = {"X-Notion-Signature": sign, "Content-Type": "application/json"}
    async with http.post(f"{url}/api/notion/webhook", data=raw, headers=headers) as answer:
        return answer.status


async def _next(content: Any) -> tuple[str, dict[str, Any]]:
    kind = ""
    async for line in content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            return kind, json.loads(value)
    raise AssertionError("the stream has ended")
