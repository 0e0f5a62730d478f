"""A broker leaves no secret behind after a day over PostgreSQL and Redis.

No token, code, verifier, state or key is in the database, in any command sent to Redis, in the
logs, the metrics, the event streams or the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from yarl import URL

from cloud_broker.sandbox.app import WORLD
from cloud_broker.sandbox.seed import OTHER_WORKSPACE, READING_LIST, TEAM_PAGE, WORKSPACE
from tests.security import canaries
from tests.security.canaries import Written, leaks
from tests.security.test_canaries import BROKER_KEYS
from tests.security.whole_system import WholeSystem, a_house
from tests.servers.postgres import a_postgres
from tests.servers.redis import RedisServer, a_redis

PROXY = "/api/notion/proxy/v1"
HANDSHAKE = canaries.word("verificationtoken")


@dataclass
class Day:
    """What is left in the evening."""

    house: WholeSystem
    written: Written
    secrets: dict[str, str]
    places: dict[str, str | bytes] = field(default_factory=dict)


async def _a_day(url: str, redis: RedisServer, dump: Any) -> Day:
    written = Written()
    changes = {
        "BROKER_DATABASE_URL": url,
        "BROKER_REDIS_URL": redis.url,
        "BROKER_WEBHOOK_PENDING": "1",
        "BROKER_PUSH_POLL_S": "0.2",
    }
    async with a_house(Path("/nowhere"), **changes) as house, _overheard(redis) as told:
        streamed = await _work(house, written)
        _, _, metrics = await house.ask("GET", "/metrics")
        secrets = _secrets(house)
        database = await asyncio.to_thread(dump, url)
        places = {
            "the database": database,
            "what Redis holds": _held(redis),
            "what Redis was told": bytes(told),
            "the metrics": str(metrics),
            "the event streams": streamed,
        }
    return Day(house, written, secrets, places | {"the log": house.broker_log.getvalue()})


def _secrets(house: WholeSystem) -> dict[str, str]:
    """Every secret that was in use, by its kind."""
    exchanges = house.witness.exchanges
    found = canaries.harvest(exchanges) | {"handshake": {HANDSHAKE}}
    for each in exchanges:
        if "/v1/oauth/authorize?" in each.location:
            state = parse_qs(urlsplit(each.location).query)["state"][0]
            found.setdefault("state", set()).add(state)
        if "clipper-signin" in each.cookies and "max-age=0" not in each.cookies.lower():
            value = each.cookies.split("=", 1)[1].split(";")[0]
            found.setdefault("cookie", set()).add(value.strip('"'))
    secrets = {
        f"{kind} {number}": value
        for kind, values in found.items()
        for number, value in enumerate(sorted(values))
        if value
    }
    return secrets | {f"broker key {text[:4]}": text for text in BROKER_KEYS}


async def _work(house: WholeSystem, written: Written) -> bytes:
    """Two people's day: good and bad calls, streams, refreshes, a disconnection, an erasure."""
    handshake = {"verification_token": HANDSHAKE}
    assert (await house.ask("POST", "/api/notion/webhook", json=handshake))[0] == 200
    mira = await house.person("mira@example.com", WORKSPACE)
    jonas = await house.person("jonas@example.com", OTHER_WORKSPACE)
    async with _listening(house, mira) as mine, _listening(house, jonas) as others:
        await _calls(house, mira, written)
        await _bad_calls(house, mira, written)
        mira = await _renewed(house, mira)
        await _events(house)
        await _fail_to_revoke(house)
        status, _, body = await house.ask(
            "DELETE", f"/api/workspaces/{WORKSPACE}", token=mira["access_token"]
        )
        assert status == 204, body
        await house.ask("GET", "/api/user/export", token=mira["access_token"])
        await house.ask("DELETE", "/api/user", token=jonas["access_token"])
        await house.ask("POST", "/api/auth/logout", token=mira["access_token"], json={})
        streamed = b"".join([await mine(b"session_revoked"), await others(b"session_revoked")])
    # Somebody is in the middle of a sign-in, and another has not fetched their tokens yet.
    await house.person("mira@example.com", WORKSPACE)
    await _half_way(house)
    return streamed


@asynccontextmanager
async def _listening(house: WholeSystem, who: dict[str, Any]) -> AsyncIterator[Any]:
    headers = {"Authorization": f"Bearer {who['access_token']}", "Last-Event-ID": "0"}
    async with house.browser.get(
        house.broker_url.join(URL("/api/events")), headers=headers
    ) as stream:
        seen = bytearray(await stream.content.readuntil(b"event: ready"))

        async def until(end: bytes) -> bytes:
            while end not in seen:
                seen.extend(await stream.content.readany())
            return bytes(seen)

        yield until


async def _calls(house: WholeSystem, who: dict[str, Any], written: Written) -> None:
    token = who["access_token"]
    block = {
        "type": "paragraph",
        "paragraph": {"rich_text": [{"text": {"content": written.body}}]},
    }
    stamp = f"{int(house.notion[WORLD].clock.now() * 1000):012x}"
    key = f"{stamp[:8]}-{stamp[8:]}-7000-8000-000000000001"
    more = {"json": {"children": [block]}, "headers": {"Idempotency-Key": key}}
    for _ in range(2):
        answer = await house.ask(
            "PATCH", f"{PROXY}/blocks/{READING_LIST}/children", token=token, **more
        )
        assert answer[0] == 200, answer
    await house.ask("POST", f"{PROXY}/search", token=token, json={"query": written.search})
    for path in ("/api/user/me", "/api/auth/sessions", f"{PROXY}/users/me"):
        await house.ask("GET", path, token=token)
    named = {"mode": "single_part", "filename": f"{written.source}.png"}
    await house.ask("POST", f"{PROXY}/file_uploads", token=token, json=named)


async def _bad_calls(house: WholeSystem, who: dict[str, Any], written: Written) -> None:
    token, text = who["access_token"], written.refused
    for method, path, body in (
        ("POST", f"{PROXY}/search", {text: text}),
        ("PATCH", f"{PROXY}/blocks/{READING_LIST}/children", {"children": text}),
        ("PATCH", f"{PROXY}/blocks/{READING_LIST}", {"paragraph": {"text": text}}),
        ("GET", f"{PROXY}/pages/{text}", None),
        ("GET", f"{PROXY}/{text}", None),
        ("DELETE", f"/api/workspaces/{text}", None),
        ("DELETE", f"/api/auth/sessions/{token}", None),
        ("POST", "/api/auth/token", {"grant_type": token}),
        ("POST", "/api/auth/token", {"grant_type": "refresh_token", "refresh_token": token}),
        (
            "POST",
            "/api/auth/token",
            {"grant_type": "handoff", "token": token, "code_verifier": token},
        ),
        ("POST", "/api/notion/webhook", {"verification_token": HANDSHAKE, text: text}),
        ("GET", f"/api/auth/notion?state={token}&source={text}", None),
        ("GET", f"/api/auth/notion/callback?state={token}&code={token}", None),
    ):
        headers = {"X-Workspace-Id": text} if text in path else {}
        await house.ask(method, path, token=token, json=body, headers=headers)
    for headers in (
        {"Idempotency-Key": token, "X-Workspace-Id": WORKSPACE},
        {"X-Workspace-Id": token},
        {"Notion-Version": text},
        {"X-Request-Id": f"{text}.", "X-Forwarded-For": text},
        {"Cookie": f"token_v2={text}"},
    ):
        body = {"in_trash": text}
        await house.ask(
            "PATCH", f"{PROXY}/blocks/{READING_LIST}", token=token, headers=headers, json=body
        )
    await house.ask("GET", "/api/user/me", token=token + "x")
    await house.ask("GET", f"/api/user/me?access_token={token}")


async def _renewed(house: WholeSystem, who: dict[str, Any]) -> dict[str, Any]:
    """Notion ends its token, the daemon renews its own; a retired one is tried as well."""
    for each in house.notion[WORLD].tokens.values():
        each.ends_at = 1.0
    await house.ask("GET", f"{PROXY}/pages/{READING_LIST}", token=who["access_token"])
    renewed: dict[str, Any] = {}
    for given in (who, "renewed"):
        refresh = (renewed if given == "renewed" else who)["refresh_token"]
        body = {"grant_type": "refresh_token", "refresh_token": refresh}
        status, _, renewed = await house.ask("POST", "/api/auth/token", json=body)
        assert status == 200, renewed
    return renewed


async def _events(house: WholeSystem) -> None:
    """Forged ones; the genuine are test_isolation_by_route's."""
    event = {"workspace_id": WORKSPACE, "entity": {"id": TEAM_PAGE}, "type": "page.deleted"}
    for sign in ("sha256=" + "0" * 64, HANDSHAKE):
        headers = {"X-Notion-Signature": sign}
        await house.ask("POST", "/api/notion/webhook", json=event, headers=headers)


async def _fail_to_revoke(house: WholeSystem) -> None:
    """From now on what is to be revoked has to wait in the database."""
    rule = {"kind": "5xx_before", "route": "POST /v1/oauth/revoke", "times": 1000}
    faults = house.notion_url.join(URL("/_sandbox/faults"))
    async with house.browser.post(faults, json={"rules": [rule]}) as answer:
        assert answer.status in (200, 201), await answer.text()


async def _half_way(house: WholeSystem) -> None:
    """One sign-in waits for Notion, one for its daemon."""
    query = {
        "source": "app",
        "state": "state-of-the-daemon",
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
        "device": "desk",
    }
    login = house.broker_url.join(URL("/api/auth/notion")).with_query(query)
    async with house.browser.get(login, allow_redirects=False) as hop:
        assert hop.status == 302, await hop.text()  # and this one never comes back
    url = login
    for more in ({}, {"auto": "1", "user": "jonas@example.com", "workspace": OTHER_WORKSPACE}):
        async with house.browser.get(url.update_query(more), allow_redirects=False) as hop:
            assert hop.status == 302, await hop.text()
            url = URL(hop.headers["Location"])
    async with house.browser.get(url, allow_redirects=False) as page:
        assert page.status == 200, await page.text()


@asynccontextmanager
async def _overheard(redis: RedisServer) -> AsyncIterator[bytearray]:
    """Every command that Redis gets."""
    reader, writer = await asyncio.open_unix_connection(redis.url.removeprefix("unix://"))
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    told = bytearray()

    async def listen() -> None:
        while chunk := await reader.read(65_536):
            told.extend(chunk)

    task = asyncio.ensure_future(listen())
    try:
        yield told
    finally:
        writer.close()
        await task


def _held(redis: RedisServer) -> bytes:
    """Every key with its value."""
    read: dict[str, tuple[str, ...]] = {
        "string": ("GET",),
        "hash": ("HGETALL",),
        "set": ("SMEMBERS",),
    }
    read |= {
        "list": ("LRANGE", "0", "-1"),
        "zset": ("ZRANGE", "0", "-1"),
        "stream": ("XRANGE", "-", "+"),
    }
    whole = redis.say("KEYS", "*")
    for key in whole.decode().split("\r\n"):
        if key and key[0] not in "*$":
            kind = redis.say("TYPE", key).decode().strip().removeprefix("+")
            command, *rest = read.get(kind, ("EXISTS",))
            whole += redis.say(command, key, *rest)
    return whole


async def test_nothing_secret_outlives_its_request_in_database_redis_log_stream_or_answer() -> None:
    with a_postgres() as postgres, a_redis() as redis:
        day = await _a_day(postgres.fresh(), redis, postgres.dump)
    _check_that_it_was_a_whole_day(day)
    everything = day.secrets | day.written.all()
    found = [leak for place, text in day.places.items() for leak in leaks(place, text, everything)]
    people = {"mail": "@example.com", "name": "Mira", "workspace's name": "Northwind"}
    for place in ("what Redis holds", "what Redis was told"):
        found += leaks(place, day.places[place], people)
    found += _in_answers(day)
    assert not found, "\n".join(sorted(set(found)))


def _check_that_it_was_a_whole_day(day: Day) -> None:
    kinds = {kind.rsplit(" ", 1)[0] for kind in day.secrets}
    assert {"notion access_token", "notion refresh_token", "notion code", "notion Basic"} <= kinds
    assert {"broker token", "broker access_token", "broker refresh_token"} <= kinds
    assert {"broker code_verifier", "broker code", "broker Bearer"} <= kinds
    assert {"state", "cookie", "handshake", "broker key"} <= kinds
    assert b"v1:{u:" in day.places["what Redis holds"]
    for table in ("notion_connections", "pending_revocations", "oauth_states", "handoffs"):
        assert f"INSERT INTO public.{table} " in str(day.places["the database"]), table


def _in_answers(day: Day) -> list[str]:
    """Notion's secrets are in no answer, the broker's own in those of the token route only."""
    found = []
    for each in day.house.witness.exchanges:
        if each.server == "broker" and each.url != "/api/auth/token":
            ours = {
                kind: value for kind, value in day.secrets.items() if "broker token" not in kind
            }
            where = f"{each.method} {each.url[:60]} {each.answered[:200]!r}"
            found += leaks(where, each.answered, ours)
        notions = {kind: value for kind, value in day.secrets.items() if kind[:6] == "notion"}
        if each.server == "broker":
            found += leaks(f"{each.method} {each.url[:60]}", each.answered, notions)
    return found
