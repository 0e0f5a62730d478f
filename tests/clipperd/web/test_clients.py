"""Named tokens: shown once, stored as hashes, revoked immediately."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.storage.database import Database
from clipperd.web.tokens import CLIENT_STEPS, ApiTokens
from tests.clipperd.web.middleware_stage import MiddlewareStage, running_api
from tests.clocks import ManualClock


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path) as opened:
        yield opened


async def make(api: MiddlewareStage, name: str = "App", *scopes: str) -> dict[str, Any]:
    body = {"name": name, "scopes": list(scopes or ("read",))}
    status, made, _ = await api.call("POST", "/v1/clients", json=body)
    assert status == 201
    answer: dict[str, Any] = made
    return answer


async def test_a_token_is_shown_once_and_works(api: MiddlewareStage) -> None:
    made = await make(api)
    assert (await api.call("GET", "/v1/status", token=made["token"]))[0] == 200
    _, listed, _ = await api.call("GET", "/v1/clients")
    assert [client["name"] for client in listed["clients"]] == ["App"]
    assert made["token"] not in str(listed)


async def test_no_file_holds_a_token(api: MiddlewareStage, tmp_path: Path) -> None:
    made = await make(api)
    written = await asyncio.to_thread(lambda: [f.read_bytes() for f in tmp_path.iterdir()])
    assert written
    assert not [data for data in written if made["token"].encode() in data]


async def test_a_revoked_token_is_worth_nothing_at_once(api: MiddlewareStage) -> None:
    made = await make(api)
    assert (await api.call("DELETE", f"/v1/clients/{made['id']}"))[0] == 204
    assert (await api.call("GET", "/v1/status", token=made["token"]))[0] == 401
    assert (await api.call("DELETE", f"/v1/clients/{made['id']}"))[0] == 404


async def test_only_admin_sees_and_makes_clients(api: MiddlewareStage) -> None:
    token = await api.client("read", "clip")
    for method in ("GET", "POST"):
        assert (await api.call(method, "/v1/clients", token=token))[0] == 403


async def test_a_name_is_taken_once(api: MiddlewareStage) -> None:
    await make(api)
    body = {"name": " App ", "scopes": ["clip"]}
    status, problem, _ = await api.call("POST", "/v1/clients", json=body)
    assert (status, problem["code"]) == (409, "client_name_taken")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["read"]},
        {"name": "  ", "scopes": ["read"]},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["root"]},
        {"name": "a"},
        {"name": "a" * 81, "scopes": ["read"]},
    ],
)
async def test_bad_clients_are_refused_and_not_stored(api: MiddlewareStage, body: object) -> None:
    assert (await api.call("POST", "/v1/clients", json=body))[0] == 400
    assert api.clients.all() == []


async def test_last_used_is_kept_to_the_minute(api: MiddlewareStage) -> None:
    made = await make(api)
    assert made["last_used_at"] is None
    seen = []
    for wait in (0, 30, 31):
        api.clock.advance(wait)
        await api.call("GET", "/v1/status", token=made["token"])
        seen.append(api.clients.all()[0].last_used_at)
    start = api.clock.now() - 61
    assert seen == [start, start, start + 61]


async def test_clients_outlive_the_process(tmp_path: Path) -> None:
    numbers, tokens = itertools.count(), list[str]()
    for _ in range(2):
        db = Database.open(tmp_path / "o.db", name="o", steps=CLIENT_STEPS, synchronous="FULL")
        clients = await ApiTokens.open(
            db,
            ManualClock(),
            new_id=lambda: f"id{next(numbers)}",
            new_token=lambda: f"token{next(numbers)}",
        )
        if not tokens:
            tokens.append((await clients.create("App", ["clip", "read"]))[1])
            await clients.used("id1")
        else:
            (client,) = clients.all()
            assert (client.name, client.scopes) == ("App", ("read", "clip"))
            assert client.last_used_at == ManualClock().now()
        db.close()
