"""The event stream: snapshot, resume, gap, other users, slow readers, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clipperd.web.hub import Event, EventHub
from clipperd.web.keys import Limits
from tests.clipperd.web.middleware_stage import TOKEN, MiddlewareStage, running_api
from tests.clocks import ManualClock


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path) as opened:
        yield opened


class Reader:
    """A client of the stream that parses what it gets."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> dict[str, Any]:
        """One block of the stream; ``data`` decoded; ``comment`` for a heartbeat."""
        block: dict[str, Any] = {}
        async with asyncio.timeout(30):
            async for line in self._response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if not line.strip():
                    if "retry" in block:
                        block = {}
                        continue
                    return block
                block[name or "comment"] = json.loads(value) if name == "data" else value
        return {"event": "end"}


@contextlib.asynccontextmanager
async def reading(
    api: MiddlewareStage, *, last: str | None = None, types: str = "", token: str = TOKEN
) -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
    url = f"{api.url}/v1/events" + (f"?types={types}" if types else "")
    async with api.session.get(url, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Reader(response)


async def test_a_snapshot_comes_first_then_what_happens(api: MiddlewareStage) -> None:
    async with reading(api) as reader:
        first = await reader.next()
        assert (first["event"], first["data"]) == ("snapshot", {"n": 0})
        api.events.publish("clip", {"id": "c1", "text": "a\nb"})
        second = await reader.next()
        assert (second["event"], second["data"]) == ("clip", {"id": "c1", "text": "a\nb"})
        assert int(second["id"]) > int(first["id"])


async def test_a_reader_resumes_where_it_stopped(api: MiddlewareStage) -> None:
    async with reading(api) as reader:
        last = (await reader.next())["id"]
    for number in range(3):
        api.events.publish("clip", {"n": number})
    async with reading(api, last=last) as reader:
        assert [(await reader.next())["data"]["n"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("last", ["1", "99999999999999999999999", "x", "-5", "9" * 18])
async def test_unknown_history_is_a_gap_and_a_new_snapshot(api: MiddlewareStage, last: str) -> None:
    async with reading(api, last=last) as reader:
        gap, snapshot = await reader.next(), await reader.next()
    assert (gap["event"], snapshot["event"]) == ("gap", "snapshot")
    assert "id" not in gap


async def test_history_that_left_the_ring_is_a_gap(api: MiddlewareStage) -> None:
    first = str(api.events.head())
    for number in range(1001):
        api.events.publish("clip", {"n": number})
    async with reading(api, last=first) as reader:
        assert (await reader.next())["event"] == "gap"
    async with reading(api, last=str(int(first) + 1)) as reader:
        assert (await reader.next())["data"] == {"n": 1}


async def test_types_filter(api: MiddlewareStage) -> None:
    async with reading(api, types="status,session") as reader:
        await reader.next()
        api.events.publish("clip", {})
        api.events.publish("status", {"s": 1})
        assert (await reader.next())["event"] == "status"


@pytest.mark.parametrize("query", ["types=clip,nothing", "last_event_id=5", "types=snapshot"])
async def test_a_wrong_query_is_refused(api: MiddlewareStage, query: str) -> None:
    assert (await api.call("GET", f"/v1/events?{query}"))[0] == 400


async def test_another_accounts_events_are_not_shown(api: MiddlewareStage) -> None:
    async with reading(api) as reader:
        await reader.next()
        api.events.publish("clip", {"whose": "other"}, "user-2")
        api.events.publish("clip", {"whose": "mine"}, "user-1")
        assert (await reader.next())["data"] == {"whose": "mine"}


async def test_a_change_of_account_starts_the_stream_anew(api: MiddlewareStage) -> None:
    async with reading(api, types="clip") as reader:
        last = (await reader.next())["id"]
        api.user[0] = "user-2"
        api.events.publish("clip", {"whose": "user-1"}, "user-1")
        api.events.publish("session", {"state": "signed_in"})
        seen = [await reader.next() for _ in range(3)]
        assert [block["event"] for block in seen] == ["clip", "gap", "snapshot"]
        api.events.publish("clip", {"whose": "user-2"}, "user-2")
        assert (await reader.next())["data"] == {"whose": "user-2"}
    async with reading(api, last=last) as reader:
        assert (await reader.next())["event"] == "gap"


async def test_a_heartbeat_comes_every_25_seconds_while_somebody_listens(
    api: MiddlewareStage,
) -> None:
    assert api.clock.sleepers == 0
    async with reading(api) as reader:
        await reader.next()
        api.clock.advance(25)
        assert await reader.next() == {"comment": "here"}
        api.clock.advance(25)
        assert await reader.next() == {"comment": "here"}
    async with asyncio.timeout(30):
        while api.events.attached:
            await api.call("GET", "/healthz")


async def test_a_revoked_clients_stream_ends_at_once(api: MiddlewareStage) -> None:
    client, token = await api.clients.create("app", ["read"])
    async with reading(api, token=token) as reader:
        await reader.next()
        await api.call("DELETE", f"/v1/clients/{client.id}")
        assert await reader.next() == {"event": "end"}


async def test_more_streams_than_the_limit_are_refused(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits=Limits(streams=1)) as api, reading(api) as reader:
        await reader.next()
        status, body, _ = await api.call("GET", "/v1/events")
        assert (status, body["code"]) == (429, "too_many_streams")


async def test_a_reader_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits=Limits(write_timeout_s=0.2)) as api:
        host, port = "127.0.0.1", api.port
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        head = f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
        writer.write(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(20):
            while api.events.attached:
                api.events.publish("clip", {"text": "x" * 50_000})
                await asyncio.sleep(0.01)
        writer.close()


async def test_streams_end_when_the_daemon_does(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, reading(api) as reader:
        await reader.next()
        await api.events.close()
        assert await reader.next() == {"event": "end"}


async def _account() -> str | None:
    return None


async def _snapshot() -> dict[str, int]:
    return {}


async def _take(stream: AsyncIterator[Event | None], count: int) -> list[Event | None]:
    async with asyncio.timeout(30):
        return [await anext(stream) for _ in range(count)]


async def test_page_events_of_a_moment_become_one() -> None:
    clock = ManualClock()
    events = EventHub(clock)
    async with events.stream(snapshot=_snapshot, account=_account) as stream:
        reader = aiter(stream)
        await _take(reader, 1)
        events.publish("pages", {"ids": ["a"]})
        for page in ("b", "c", "b"):
            events.publish("pages", {"ids": [page]})
        events.publish("pages", {"removed": ["c"]})
        events.publish("outline", {"workspace_id": "w", "ids": ["x"]})
        (first,) = await _take(reader, 1)
        assert first is not None
        assert first.data == {"ids": ["a"], "removed": []}
        await asyncio.sleep(0)
        clock.advance(0.25)
        both = await _take(reader, 2)
        assert [event.data for event in both if event] == [
            {"ids": ["b"], "removed": ["c"]},
            {"workspace_id": "w", "ids": ["x"], "removed": []},
        ]
        clock.advance(0.25)
    assert clock.sleepers == 0
    await events.close()


async def test_a_reader_too_far_behind_gets_a_gap_and_a_snapshot() -> None:
    events = EventHub(ManualClock(), waiting=3)
    async with events.stream(snapshot=_snapshot, account=_account) as stream:
        reader = aiter(stream)
        await _take(reader, 1)
        for number in range(5):
            events.publish("clip", {"n": number})
        seen = await _take(reader, 2)
        assert [event.type for event in seen if event] == ["gap", "snapshot"]
        events.publish("clip", {"n": 9})
        (event,) = await _take(reader, 1)
        assert event is not None
        assert event.data == {"n": 9}
    await events.close()


def test_ids_grow_from_one_process_to_the_next_and_stay_exact_in_javascript() -> None:
    early, late = EventHub(ManualClock(1000.0)), EventHub(ManualClock(1000.1))
    for _ in range(50):
        early.publish("clip", {})
    assert early.head() < late.head()
    assert EventHub(ManualClock(2_100_000_000.0)).head() < 2**53


def test_an_unknown_type_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no such event type"):
        EventHub(ManualClock()).publish("nothing", {})
