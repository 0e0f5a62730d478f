"""Every route of the broker refuses bad input: in its shape, without a row or a call."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from cloud_broker.proxy.routes import ROUTES as PROXY_ROUTES
from cloud_broker.sandbox.seed import WORKSPACE
from tests.security import hostile
from tests.security.answers import Findings, no_problem
from tests.security.whole_system import WholeSystem

PROXY = "/api/notion/proxy"
PREFIXES = (PROXY, f"{PROXY}/v1")
AN_ID = "7f0e6a34-5b1c-4c0e-9d0f-3a2b1c0d9e8f"
JSON = {"Content-Type": "application/json"}
A_KEY = "019a0000-0000-7000-8000-000000000000"

PUBLIC = {
    "GET /.well-known/jwks.json",
    "GET /api/auth/notion",
    "GET /api/auth/notion/callback",
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "POST /api/auth/token",
    "POST /api/billing/webhook",
    "POST /api/notion/webhook",
}
GUARDED = {
    "DELETE /api/auth/sessions/{session_id}",
    "DELETE /api/user",
    "DELETE /api/workspaces/{workspace_id}",
    "GET /api/auth/sessions",
    "GET /api/events",
    "GET /api/notion/writes",
    "GET /api/user/export",
    "GET /api/user/me",
    "POST /api/auth/logout",
    "PUT /api/notion/writes/{key}",
}
_STATE = re.compile(r"[A-Za-z0-9._~-]{8,256}")
ASKED = {
    "source": "cli",
    "state": "a-state-of-the-daemon",
    "code_challenge": "c" * 43,
    "code_challenge_method": "S256",
    "device": "desk",
    "redirect_uri": "http://127.0.0.1:9/v1/session/callback",
}


@pytest.fixture
async def token(house: WholeSystem) -> str:
    """The access token of a person who is signed in."""
    return str((await house.person("mira@example.com", WORKSPACE))["access_token"])


@asynccontextmanager
async def untouched(house: WholeSystem) -> AsyncIterator[None]:
    """Inside, no row comes or goes, and nothing is sent to Notion."""
    before, seen = await house.rows(), len(house.witness.exchanges)
    yield
    after = await house.rows()
    assert after == before, f"stored: {set(after.items()) ^ set(before.items())}"
    later = [each for each in house.witness.exchanges[seen:] if each.server == "notion"]
    assert not later, f"sent: {[(each.method, each.url) for each in later]}"


def _paths() -> list[tuple[str, str]]:
    """Every row of the proxy's table with ids in place, under both prefixes."""
    return [
        (route.method, prefix + route.path([AN_ID] * len(route.words)).removeprefix("/v1"))
        for route in PROXY_ROUTES
        for prefix in PREFIXES
    ]


def test_the_table_is_whole(house: WholeSystem) -> None:
    found = {
        f"{route.method} {route.resource.canonical}"
        for route in house.broker.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert found == PUBLIC | GUARDED | {f"* {PROXY}/{{path}}"}


async def test_no_route_answers_without_a_live_access_token(house: WholeSystem, token: str) -> None:
    found = Findings()
    wrong = await _wrong_tokens(house, token)
    requests = [tuple(re.sub(r"\{.*?\}", AN_ID, each).split(" ")) for each in GUARDED] + _paths()
    async with untouched(house):
        for method, path in requests:
            for what, authorization in wrong.items():
                headers = {} if authorization is None else {"Authorization": authorization}
                answer = await house.ask(method, path, headers=headers)
                found.check(f"{method} {path} {what}", no_problem(*answer, 401))
                if authorization and authorization[7:] and authorization[7:] in str(answer):
                    found.check(f"{method} {path} {what}", "says the token back")
        assert not found, found.told()


async def _wrong_tokens(house: WholeSystem, token: str) -> dict[str, str | None]:
    head, claims, signature = token.split(".")
    about = jwt.decode(token, options={"verify_signature": False})
    _, _, keys = await house.ask("GET", "/.well-known/jwks.json")
    public = base64.urlsafe_b64decode(keys["keys"][0]["x"] + "==")
    kid = {"kid": jwt.get_unverified_header(token)["kid"], "typ": "at+jwt"}
    return {
        "none": None,
        "empty": "Bearer ",
        "basic": f"Basic {token}",
        "garbage": "Bearer x.y.z",
        "tampered": f"Bearer {head}.{claims}.{'A' * len(signature)}",
        "alg none": "Bearer " + jwt.encode(about, "", algorithm="none", headers=kid),
        "signed with the public key": "Bearer "
        + jwt.encode(about, public, algorithm="HS256", headers=kid),
        "long": "Bearer " + "A" * 6000,
        "not ASCII": "Bearer \u00e9\u0663",
        "two": f"Bearer {token} {token}",
    }


async def test_the_token_route_refuses_every_bad_body(house: WholeSystem) -> None:
    found = Findings()
    good = [
        {"grant_type": "handoff", "token": "t", "code_verifier": "v" * 43},
        {"grant_type": "refresh_token", "refresh_token": "r" * 43},
    ]
    async with untouched(house):
        for what, raw in hostile.NOT_BODIES.items():
            answer = await house.ask("POST", "/api/auth/token", data=raw, headers=JSON)
            found.check(what, no_problem(*answer, 400, 413))
        for what, body in hostile.variants(good):
            answer = await house.ask("POST", "/api/auth/token", json=body)
            found.check(what, no_problem(*answer, 400))
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            headers = {"Content-Type": kind}
            answer = await house.ask("POST", "/api/auth/token", data=b"{}", headers=headers)
            found.check(kind, no_problem(*answer, 415))
        answer = await house.ask("POST", "/api/auth/token", data=b" " * 70_000, headers=JSON)
        found.check("large", no_problem(*answer, 413))
        assert not found, found.told()


async def test_a_sign_in_with_a_bad_parameter_goes_nowhere(house: WholeSystem) -> None:
    found = Findings()
    more = {
        "redirect_uri": (
            *("http://127.0.0.1:9/elsewhere", "http://127.0.0.1:9@evil.example/", "javascript:1"),
            *("http://localhost:9/v1/session/callback", "//evil.example/v1/session/callback"),
            *("http://127.0.0.1:99999999/v1/session/callback", "https://evil.example/"),
        ),
        "code_challenge_method": ("plain", "none"),
        "code_challenge": ("c" * 42, "c" * 44, "c" * 42 + "="),
    }
    async with untouched(house):
        for name in ASKED:
            for value in (*hostile.QUERY_VALUES, *map(_quoted, more.get(name, ()))):
                if name == "device" or (name == "state" and _STATE.fullmatch(value)):
                    continue  # those are good
                rest = urlencode({key: text for key, text in ASKED.items() if key != name})
                answer = await house.ask("GET", f"/api/auth/notion?{rest}&{name}={value}")
                found.check(f"{name}={value[:40]}", no_problem(*answer, 400))
        for query in ("", "source=cli", urlencode(ASKED) + "&state=twice-a-state", "x=1"):
            answer = await house.ask("GET", f"/api/auth/notion?{query}")
            found.check(query[:40], no_problem(*answer, 400))
        assert not found, found.told()


async def test_any_text_at_all_may_name_a_device(house: WholeSystem) -> None:
    found = Findings()
    for value in hostile.QUERY_VALUES:
        rest = urlencode({key: text for key, text in ASKED.items() if key != "device"})
        status, headers, body = await house.ask("GET", f"/api/auth/notion?{rest}&device={value}")
        if status != 302:
            found.check(value[:40], no_problem(status, headers, body, 400))
    assert not found, found.told()


async def test_a_callback_that_was_not_asked_for_calls_nobody(house: WholeSystem) -> None:
    found = Findings()
    async with untouched(house):
        for value in (*hostile.QUERY_VALUES, "A" * 43):
            for query in (
                f"state={value}&code=c",
                f"state={'A' * 43}&code={value}",
                f"code={value}",
            ):
                for accept in ("text/html", "*/*"):
                    status, headers, body = await house.ask(
                        "GET", f"/api/auth/notion/callback?{query}", headers={"Accept": accept}
                    )
                    if accept == "text/html" and 400 <= status < 500:
                        assert "<script>" not in body
                        continue
                    found.check(query[:60], no_problem(status, headers, body, 400, 401, 403, 404))
        assert not found, found.told()


async def test_bad_ids_in_a_path_are_not_found(house: WholeSystem, token: str) -> None:
    found = Findings()
    async with untouched(house):
        for each in GUARDED:
            method, path = each.split(" ")
            if "{" in path:
                for piece in (*hostile.PIECES, AN_ID):
                    target = re.sub(r"\{.*?\}", piece.replace("\\", ""), path)
                    answer = await house.ask(method, target, token=token)
                    found.check(f"{each} {piece[:40]}", no_problem(*answer, 400, 404))
        assert not found, found.told()


async def test_unknown_addresses_and_methods_are_problems(house: WholeSystem, token: str) -> None:
    found = Findings()
    async with untouched(house):
        for path in ("/", "/api", "/api/user", "/.env", "/%00", "/%ff", "/api/../healthz", "//"):
            for method in ("GET", "PATCH", "TRACE"):
                answer = await house.ask(method, path, token=token)
                found.check(f"{method} {path}", no_problem(*answer, 404, 405))
        assert not found, found.told()


async def test_the_proxy_knows_no_other_calls(house: WholeSystem, token: str) -> None:
    found = Findings()
    paths = [
        *("", "/", "//", "/v1", "/v1/", "/v2/pages", "/users", "/comments", "/oauth/token"),
        *("/v1/v1/search", "/search/", "//search", "/Search", "/search%2f", "/search;x", "/pages/"),
        *("/v1/../oauth/token", "/%2e%2e/oauth/token", "/blocks/..%2fpages", "/search%00"),
        *("/http://evil.example/", "/@evil.example", "/pages/%ff", "/" + "a" * 5000),
    ]
    async with untouched(house):
        for path in paths:
            for method in ("GET", "POST", "PATCH", "DELETE", "PUT"):
                answer = await house.ask(method, PROXY + path, token=token)
                found.check(f"{method} {path[:60]}", no_problem(*answer, 400, 404, 405))
        for _, path in _paths():
            for method in ("PUT", "OPTIONS", "TRACE", "XYZ"):
                answer = await house.ask(method, path, token=token)
                found.check(f"{method} {path}", no_problem(*answer, 400, 404, 405))
        assert not found, found.told()


async def test_bad_ids_and_queries_reach_no_row_of_the_proxy(
    house: WholeSystem, token: str
) -> None:
    found = Findings()
    async with untouched(house):
        for route in PROXY_ROUTES:
            path = PREFIXES[1] + "/" + "/".join(route.words)
            for piece in hostile.PIECES if ":" in path else ():
                target = re.sub(r":\w+", piece.replace("\\", ""), path)
                answer = await house.ask(route.method, target, token=token)
                found.check(f"{route.name} {piece[:40]}", no_problem(*answer, 400, 404))
            target = re.sub(r":\w+", AN_ID, path)
            names: set[str] = {*route.query, "no_such_parameter", "token"}
            for name in sorted(names):
                for value in hostile.QUERY_VALUES:
                    if name in route.query and re.fullmatch(r"[!-~]{1,512}", value):
                        continue  # Notion's to judge
                    answer = await house.ask(route.method, f"{target}?{name}={value}", token=token)
                    found.check(f"{route.name}?{name}={value[:30]}", no_problem(*answer, 400))
        assert not found, found.told()


async def test_bad_bodies_and_headers_reach_no_row_of_the_proxy(
    house: WholeSystem, token: str
) -> None:
    found = Findings()
    deep: Any = {}
    for _ in range(40):
        deep = {"a": [deep]}
    bodies = {
        **hostile.NOT_BODIES,
        "33 levels": json.dumps({"children": [deep], "filter": deep, "properties": deep}).encode(),
        "600 KB": b'{"children": "' + b"x" * 600_000 + b'"}',
    }
    async with untouched(house):
        for route, (method, path) in zip(
            [route for route in PROXY_ROUTES for _ in PREFIXES], _paths(), strict=True
        ):
            if route.streams:
                answer = await house.ask(method, path, token=token, data=b"{}", headers=JSON)
                found.check(f"{route.name} no form", no_problem(*answer, 400))
                continue
            for what, raw in bodies.items() if "v1" in path else ():
                headers = JSON | {"Idempotency-Key": A_KEY}
                answer = await house.ask(method, path, token=token, data=raw, headers=headers)
                found.check(f"{route.name} {what}", no_problem(*answer, 400, 413))
            for name in ("X-Workspace-Id", "Notion-Version"):
                for value in hostile.HEADER_VALUES:
                    if not value.strip() and name == "Notion-Version":
                        continue  # an empty header is none
                    headers = {name: value.decode("utf-8", "surrogateescape")}
                    answer = await house.ask(method, path, token=token, headers=headers)
                    found.check(f"{route.name} {name} {value[:20]!r}", no_problem(*answer, 400))
        assert not found, found.told()


async def test_bad_idempotency_keys_reach_no_write(house: WholeSystem, token: str) -> None:
    found = Findings()
    good = {"children": {"children": []}, "page": {"parent": {"page_id": AN_ID}}, "none": {}}
    async with untouched(house):
        for route in PROXY_ROUTES:
            if route.kind != "write" or route.streams:
                continue
            path = PROXY + route.path([AN_ID]).removeprefix("/v1")
            body = None if route.body is None else good.get(route.creates, {})
            if route.name == "blocks.update":
                body = {"in_trash": True}
            keys = [value.decode("utf-8", "surrogateescape") for value in hostile.HEADER_VALUES]
            for key in (*keys, AN_ID, A_KEY + "0", A_KEY.replace("-7", "-4")):
                headers = {"Idempotency-Key": key, "X-Workspace-Id": WORKSPACE}
                answer = await house.ask(
                    route.method, path, token=token, json=body, headers=headers
                )
                found.check(f"{route.name} {key[:20]!r}", no_problem(*answer, 400))
        assert not found, found.told()


def _quoted(text: str) -> str:
    return urlencode({"": text})[1:]
