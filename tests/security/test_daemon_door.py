"""Every route of the assembled daemon refuses strangers, web pages, wrong types and huge bodies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

from clipperd.web.app import ROUTES
from clipperd.web.routes import Route
from tests.security.answers import Findings, no_problem
from tests.security.whole_system import OWNER_TOKEN, Daemon, WholeSystem, untouched

AN_ID = "7f0e6a34-5b1c-4c0e-9d0f-3a2b1c0d9e8f"
GUARDED = [route for route in ROUTES if route.scope != "public"]
WITH_BODY = [route for route in ROUTES if route.method != "GET"]


def path_of(route: Route) -> str:
    """The route's path with an id in each place."""
    return re.sub(r"\{[^}]*\}", AN_ID, route.path)


def named(routes: list[Route]) -> Iterator[tuple[str, str, str, Route]]:
    for route in routes:
        yield f"{route.method} {route.path}", route.method, path_of(route), route


def test_the_table_is_whole() -> None:
    assert len(ROUTES) > 40
    public = {f"{route.method} {route.path}" for route in ROUTES if route.scope == "public"}
    assert public == {"GET /healthz", "POST /v1/hello", "GET /v1/session/callback"}


async def test_no_route_answers_without_the_right_token(house: WholeSystem, daemon: Daemon) -> None:
    wrong = (
        None,
        "Bearer " + "A" * 43,
        f"Bearer {OWNER_TOKEN}x",
        f"Bearer {OWNER_TOKEN[:-1]}",
        f"Bearer {OWNER_TOKEN} {OWNER_TOKEN}",
        f"Basic {OWNER_TOKEN}",
        OWNER_TOKEN,
        "Bearer",
    )
    found = Findings()
    async with untouched(house, daemon):
        for name, method, path, _ in named(GUARDED):
            for authorization in wrong:
                headers = {} if authorization is None else {"Authorization": authorization}
                answer = await daemon.call(method, path, token=None, headers=headers)
                found.check(f"{name} with {authorization}", no_problem(*answer, 401))
                if answer[1].get("WWW-Authenticate") is None:
                    found.check(name, "401 without WWW-Authenticate")
        assert not found, found.told()


async def test_no_route_takes_a_token_in_the_address(house: WholeSystem, daemon: Daemon) -> None:
    found = Findings()
    async with untouched(house, daemon):
        for name, method, path, _ in named(GUARDED):
            for parameter in ("token", "access_token", "Authorization"):
                target = f"{path}?{parameter}={OWNER_TOKEN}"
                for token in (None, OWNER_TOKEN):
                    answer = await daemon.call(method, target, token=token)
                    found.check(f"{name} {parameter}", no_problem(*answer, 400))
                    if OWNER_TOKEN in str(answer):
                        found.check(name, "the token is said back")
        assert not found, found.told()


async def test_a_scope_that_is_too_low_is_refused_on_every_route(
    house: WholeSystem, daemon: Daemon
) -> None:
    clients = {
        scope: await daemon.parts.tokens.create(scope, [scope]) for scope in ("read", "clip")
    }
    found = Findings()
    async with untouched(house, daemon):
        for name, method, path, route in named(GUARDED):
            for scope, (_, token) in clients.items():
                if scope != route.scope:
                    answer = await daemon.call(method, path, token=token)
                    found.check(f"{name} with {scope}", no_problem(*answer, 403))
        assert not found, found.told()


async def test_a_revoked_client_is_a_stranger_on_every_route(
    house: WholeSystem, daemon: Daemon
) -> None:
    client, token = await daemon.parts.tokens.create("gone", ["read", "clip", "admin"])
    await daemon.parts.tokens.revoke(client.id)
    found = Findings()
    async with untouched(house, daemon):
        for name, method, path, _ in named(GUARDED):
            found.check(name, no_problem(*await daemon.call(method, path, token=token), 401))
        assert not found, found.told()


async def test_every_route_refuses_a_host_that_is_not_its_own(
    house: WholeSystem, daemon: Daemon
) -> None:
    hosts = [
        *("evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "[::1]:{port}"),
        *("127.0.0.1.nip.io:{port}", "foo.localhost:{port}", "127.1:{port}", "0.0.0.0:{port}"),
        *("user@127.0.0.1:{port}", "127.0.0.1:{port}/", "127.0.0.1:{port}, evil.example"),
        *("127.0.0.1:{port}.", "LOCALHOST.:{port}", "2130706433:{port}"),
    ]
    found = Findings()
    async with untouched(house, daemon):
        for number, (name, method, path, _) in enumerate(named(list(ROUTES))):
            for host in (hosts[number % len(hosts)], "evil.example"):
                headers = {"Host": host.format(port=daemon.port)}
                answer = await daemon.call(method, path, headers=headers)
                found.check(f"{name} for {host}", no_problem(*answer, 403))
        for host in hosts:
            headers = {"Host": host.format(port=daemon.port)}
            answer = await daemon.call("GET", "/healthz", headers=headers)
            found.check(f"/healthz for {host}", no_problem(*answer, 403))
        assert not found, found.told()


async def test_every_route_refuses_any_origin(house: WholeSystem, daemon: Daemon) -> None:
    origins = [
        *("https://evil.example", "null", "http://localhost:{port}.evil.example", "file://"),
        *("http://127.0.0.1", "https://127.0.0.1:{port}", "chrome-extension://abc", "*", ""),
    ]
    found = Findings()
    async with untouched(house, daemon):
        for number, (name, method, path, _) in enumerate(named(list(ROUTES))):
            for origin in ("https://evil.example", origins[number % len(origins)]):
                headers = {"Origin": origin.format(port=daemon.port)}
                status, seen, body = await daemon.call(method, path, headers=headers)
                found.check(f"{name} from {origin!r}", no_problem(status, seen, body, 403))
                if any(header.startswith("Access-Control") for header in seen):
                    found.check(name, "a CORS header for a stranger")
            preflight = {
                "Origin": "https://evil.example",
                "Access-Control-Request-Method": method,
            }
            answer = await daemon.call("OPTIONS", path, token=None, headers=preflight)
            found.check(f"preflight of {name}", no_problem(*answer, 403))
        assert not found, found.told()


async def test_every_route_with_a_body_refuses_what_is_not_json(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json")
    async with untouched(house, daemon):
        for name, method, path, route in named(WITH_BODY):
            if route.raw_body:
                continue
            for kind in kinds:
                headers = {"Content-Type": kind}
                answer = await daemon.call(method, path, data=b"{}", headers=headers)
                found.check(f"{name} with {kind}", no_problem(*answer, 415))
            headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            answer = await daemon.call(method, path, data=b"{}", headers=headers)
            found.check(f"{name} with gzip", no_problem(*answer, 415))
        assert not found, found.told()


async def test_every_route_refuses_a_body_over_ten_megabytes(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    async with untouched(house, daemon):
        for name, method, path, route in named(WITH_BODY):
            if route.form_bytes is not None:
                continue  # has a cap of its own: tests/clipperd/web/test_forms.py
            head = _head(daemon, method, path, f"Content-Length: {(10 << 20) + 1}")
            found.check(name, no_problem(*await _exchange(daemon, head), 413))
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        head = _head(daemon, "POST", "/v1/clips", "Transfer-Encoding: chunked")
        found.check("chunked", no_problem(*await _exchange(daemon, head, chunk * 11), 413))
        assert not found, found.told()


async def test_unknown_paths_and_methods_are_problems_too(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    paths = [
        *("/v1", "/v1/", "/v1//status", "/v1/status/", "/v1/clips/a/b/c", "/v2/status", "/.env"),
        *("/v1/../v1/status", "/v1/%2e%2e/status", "/v1/pages/%2e%2e/outline/x", "/%00", "/%ff"),
    ]
    async with untouched(house, daemon):
        for path in paths:
            answer = await daemon.call("GET", path)
            found.check(path, no_problem(*answer, 400, 404))
        for name, _, path, _ in named(list(ROUTES)):
            answer = await daemon.call("TRACE", path)
            found.check(f"TRACE {name}", no_problem(*answer, 405))
        assert not found, found.told()


def _head(daemon: Daemon, method: str, path: str, *more: str) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{daemon.port}",
        f"Authorization: Bearer {OWNER_TOKEN}",
        "Content-Type: application/json",
        "Connection: close",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _exchange(daemon: Daemon, *parts: bytes) -> tuple[int, dict[str, str], Any]:
    """Send ``parts`` on a connection of their own; the answer may come before the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        writer.write(b"".join(parts))
        answer = await reader.readuntil(b"\r\n\r\n")
        status = int(answer.split()[1])
        headers = dict(
            line.split(": ", 1) for line in answer.decode("latin-1").split("\r\n")[1:] if line
        )
        body = await reader.readexactly(int(headers["Content-Length"]))
        return status, headers, json.loads(body)
    finally:
        writer.transport.abort()
