"""The middleware checks Host, Origin, token, scope and body."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clipperd.client import Client
from clipperd.process.endpoint import Endpoint
from clipperd.process.endpoint import proof as expected_by_clients
from clipperd.process.errors import DaemonUntrusted
from clipperd.settings.errors import ConfigInvalid
from clipperd.web.access import Access
from clipperd.web.keys import Limits
from tests.clipperd.web.middleware_stage import (
    INSTANCE,
    TOKEN,
    MiddlewareStage,
    raw_request,
    running_api,
)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path) as opened:
        yield opened


async def test_health_says_up_and_nothing_else(api: MiddlewareStage) -> None:
    status, body, response = await api.call("GET", "/healthz", token=None)
    assert (status, body) == (200, {"ok": True, "api": 1})
    assert "Server" not in response.headers


async def test_every_answer_carries_the_protecting_headers(api: MiddlewareStage) -> None:
    for path in ("/healthz", "/v1/status", "/v1/nothing"):
        _, _, response = await api.call("GET", path)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert response.headers["X-Request-Id"].startswith("req")
        assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_hello_proves_knowledge_of_the_owners_token(api: MiddlewareStage) -> None:
    status, body, _ = await api.call("POST", "/v1/hello", token=None, json={"nonce": "n0nce"})
    key = hashlib.sha256(TOKEN.encode()).digest()
    message = f"n0nce:{api.port}:{INSTANCE}".encode()
    assert status == 200
    assert body == {
        "proof": hmac.new(key, message, "sha256").hexdigest(),
        "instance_id": INSTANCE,
    }
    assert body["proof"] == expected_by_clients(TOKEN, "n0nce", api.port, INSTANCE)


async def test_hello_proves_knowledge_of_a_clients_token(api: MiddlewareStage) -> None:
    client, token = await api.clients.create("app", ["clip"])
    body = {"nonce": "x", "client_id": client.id}
    _, answer, _ = await api.call("POST", "/v1/hello", token=None, json=body)
    key = hashlib.sha256(token.encode()).digest()
    expected = hmac.new(key, f"x:{api.port}:{INSTANCE}".encode(), "sha256").hexdigest()
    assert answer["proof"] == expected


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"nonce": ""},
        {"nonce": "a:b"},
        {"nonce": "x" * 257},
        {"nonce": 5},
        {"nonce": "x", "y": 1},
    ],
)
async def test_hello_refuses_a_nonce_that_could_mean_two_things(
    api: MiddlewareStage, body: object
) -> None:
    status, answer, _ = await api.call("POST", "/v1/hello", token=None, json=body)
    assert (status, answer["code"]) == (400, "invalid_input")


async def test_hello_for_an_unknown_client_is_not_found(api: MiddlewareStage) -> None:
    body = {"nonce": "x", "client_id": "nobody"}
    status, _, _ = await api.call("POST", "/v1/hello", token=None, json=body)
    assert status == 404


HOSTILE_HOSTS = (
    "127.0.0.1.nip.io:{p}",
    "foo.localhost:{p}",
    "0.0.0.0:{p}",
    "127.0.0.1",
    "localhost",
    "127.0.0.1:1",
    "localhost:80",
    "127.0.0.2:{p}",
    "127.1:{p}",
    "[::1]:{p}",
    "evil.example:{p}",
    "127.0.0.1:{p}@evil.example",
    "localhost.:{p}",
    "127.0.0.1:0{p}",
    "",
)


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_a_foreign_host_is_refused(api: MiddlewareStage, host: str) -> None:
    named = host.format(p=api.port)
    head = f"GET /healthz HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n"
    status, text = await raw_request(api.port, head.encode())
    assert status == 403
    assert b"host_refused" in text


async def test_its_own_two_names_are_served(api: MiddlewareStage) -> None:
    for name in ("127.0.0.1", "localhost"):
        head = f"GET /healthz HTTP/1.1\r\nHost: {name}:{api.port}\r\nConnection: close\r\n\r\n"
        assert (await raw_request(api.port, head.encode()))[0] == 200


async def test_two_hosts_no_host_or_a_host_in_the_request_line_are_refused(
    api: MiddlewareStage,
) -> None:
    own = f"Host: 127.0.0.1:{api.port}\r\n"
    for head in (
        f"GET /healthz HTTP/1.1\r\n{own}Host: evil.example\r\n",
        f"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n{own}",
        "GET /healthz HTTP/1.0\r\n",
        f"GET http://evil.example/healthz HTTP/1.1\r\n{own}",
        f"GET http://127.0.0.1:{api.port}/healthz HTTP/1.1\r\n{own}",
    ):
        status, _ = await raw_request(api.port, f"{head}Connection: close\r\n\r\n".encode())
        assert status in (400, 403)


@pytest.mark.parametrize(
    "origin",
    ["null", "https://evil.example", "app://my-app", "file://", "http://localhost", "*", "", "x"],
)
async def test_any_foreign_origin_is_refused_and_told_what_to_do(
    api: MiddlewareStage, origin: str
) -> None:
    status, body, response = await api.call("GET", "/v1/status", headers={"Origin": origin})
    assert (status, body["code"]) == (403, "origin_refused")
    assert body["params"]["header"] == "Origin"
    assert "allowed_origins" in body["hint"]
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_dashboards_own_origin_may_call(api: MiddlewareStage) -> None:
    assert (await api.call("GET", "/v1/status", headers={"Origin": api.url}))[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "odd"])
async def test_a_request_that_a_foreign_page_caused_is_refused(
    api: MiddlewareStage, site: str
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    for path in ("/v1/status", "/healthz"):
        status, body, _ = await api.call("GET", path, headers=headers)
        assert (status, body["params"]["header"]) == (403, "Sec-Fetch-Site")


async def test_a_browser_may_follow_a_link_to_a_public_page_only(api: MiddlewareStage) -> None:
    visit = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert (await api.call("GET", "/healthz", token=None, headers=visit))[0] == 200
    framed = visit | {"Sec-Fetch-Dest": "iframe"}
    assert (await api.call("GET", "/healthz", token=None, headers=framed))[0] == 403
    assert (await api.call("GET", "/v1/status", headers=visit))[0] == 403


async def test_an_allowed_origin_gets_cors_and_its_preflight(tmp_path: Path) -> None:
    async with running_api(tmp_path, origins=["app://my-app"]) as api:
        ask = {"Origin": "app://my-app", "Access-Control-Request-Method": "POST"}
        status, _, response = await api.call("OPTIONS", "/v1/sample", token=None, headers=ask)
        assert status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "app://my-app"
        cross = {"Origin": "app://my-app", "Sec-Fetch-Site": "cross-site"}
        assert (await api.call("GET", "/v1/status", headers=cross))[0] == 200
        assert (await api.call("GET", "/v1/status", token=None, headers=cross))[0] == 401
        assert (await api.call("GET", "/v1/status", headers={"Origin": "null"}))[0] == 403


@pytest.mark.parametrize("origin", ["null", "*", "https://*.example", "https://a.example/path"])
def test_only_exact_origins_can_be_allowed(origin: str) -> None:
    with pytest.raises(ConfigInvalid, match="exact origin"):
        Access("t", instance_id="i", tokens=None, clock=None, allowed_origins=[origin])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN} x",
        f"Bearer {TOKEN}x",
        "Bearer é",
    ],
)
async def test_anything_but_the_right_token_is_unauthenticated(
    api: MiddlewareStage, header: str
) -> None:
    status, body, response = await api.call(
        "GET", "/v1/status", token=None, headers={"Authorization": header}
    )
    assert (status, body["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in str(body)


async def test_a_token_in_the_address_is_refused_even_a_right_one(api: MiddlewareStage) -> None:
    for path in (f"/v1/status?token={TOKEN}", f"/v1/events?access_token={TOKEN}"):
        status, body, _ = await api.call("GET", path)
        assert (status, body["code"]) == (400, "token_in_query")
        assert TOKEN not in str(body)


async def test_the_21st_wrong_token_in_a_minute_is_too_many_but_the_right_one_gets_in(
    api: MiddlewareStage,
) -> None:
    statuses = [(await api.call("GET", "/v1/status", token=f"no{n}"))[0] for n in range(21)]
    assert statuses == [401] * 20 + [429]
    _, body, response = await api.call("GET", "/v1/status", token="no")
    assert body["code"] == "too_many_attempts"
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert (await api.call("GET", "/v1/status"))[0] == 200
    api.clock.advance(61)
    assert (await api.call("GET", "/v1/status", token="no"))[0] == 401
    assert set(api.clock.slept) == {0.1}


async def test_scopes_hold_only_themselves_but_admin_holds_all(api: MiddlewareStage) -> None:
    reader, clipper, admin = [await api.client(s) for s in ("read", "clip", "admin")]
    body = {"text": "x"}
    assert (await api.call("GET", "/v1/sample/a", token=reader))[0] == 200
    assert (await api.call("GET", "/v1/sample/a", token=clipper))[0] == 403
    assert (await api.call("POST", "/v1/sample", token=reader, json=body))[0] == 403
    assert (await api.call("POST", "/v1/sample", token=clipper, json=body))[0] == 200
    assert (await api.call("POST", "/v1/sample", token=admin, json=body))[0] == 200
    _, problem, _ = await api.call("POST", "/v1/sample", token=reader, json=body)
    assert (problem["code"], problem["params"]) == ("scope_missing", {"scope": "clip"})


async def test_writes_are_json_and_say_so(api: MiddlewareStage) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        status, body, _ = await api.call(
            "POST", "/v1/sample", data=b'{"text":"x"}', headers={"Content-Type": kind}
        )
        assert (status, body["code"]) == (415, "unsupported_media_type")
    assert (await api.call("POST", "/v1/raw", data=b"abc"))[1] == {"bytes": 3}


async def test_a_compressed_body_is_refused(api: MiddlewareStage) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    status, body, _ = await api.call("POST", "/v1/sample", data=b"x", headers=headers)
    assert (status, body["code"]) == (415, "unsupported_media_type")


async def test_a_body_over_the_cap_is_refused_by_its_length_and_by_its_bytes(
    tmp_path: Path,
) -> None:
    async with running_api(tmp_path, limits=Limits(body_bytes=1000)) as api:

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 600
            yield b"x" * 600

        assert (await api.call("POST", "/v1/raw", data=b"x" * 1000))[0] == 200
        for data in (b"x" * 1001, pieces()):
            status, body, _ = await api.call("POST", "/v1/raw", data=data)
            assert (status, body["code"]) == (413, "body_too_large")


async def test_a_body_is_not_asked_for_before_the_token_is_right(api: MiddlewareStage) -> None:
    head = (
        f"POST /v1/sample HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nExpect: 100-continue\r\n"
        "Content-Type: application/json\r\nContent-Length: 5\r\nConnection: close\r\n{}\r\n"
    )
    assert (await raw_request(api.port, head.format("").encode()))[0] == 401
    good = head.format(f"Authorization: Bearer {TOKEN}\r\n")
    assert (await raw_request(api.port, good.encode()))[0] == 100


async def test_a_slow_head_and_a_slow_body_end(tmp_path: Path) -> None:
    limits = Limits(header_timeout_s=0.05, body_timeout_s=0.05)
    async with running_api(tmp_path, limits=limits) as api:
        assert await raw_request(api.port, b"GET /healthz HT") == (0, b"")
        assert await raw_request(api.port, b"") == (0, b"")
        head = (
            f"POST /v1/sample HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nAuthorization: Bearer "
            f"{TOKEN}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
        )
        status, text = await raw_request(api.port, head.encode())
        assert status == 408
        assert b"request_timeout" in text


async def test_one_connection_too_many_is_told_so_and_room_comes_back(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits=Limits(connections=2)) as api:
        held = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(2)]
        status, text = await raw_request(api.port, b"")
        assert status == 503
        assert b"too_many_connections" in text
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        assert (await api.call("GET", "/healthz", token=None))[0] == 200


async def test_it_listens_on_127_0_0_1_and_nowhere_else(api: MiddlewareStage) -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.2", api.port)


async def test_a_client_that_goes_in_the_middle_is_no_error(
    api: MiddlewareStage, caplog: pytest.LogCaptureFixture
) -> None:
    head = (
        f"POST /v1/sample HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nAuthorization: Bearer {TOKEN}"
        "\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head.encode())
    await writer.drain()
    assert (await api.call("GET", "/healthz"))[0] == 200  # by now the head has been read
    writer.close()
    await writer.wait_closed()
    assert (await api.call("GET", "/healthz"))[0] == 200
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_the_projects_own_client_trusts_it_and_follows_its_events(
    api: MiddlewareStage,
) -> None:
    found = Endpoint(
        url=api.url, port=api.port, pid=1, started_at="", instance_id=INSTANCE, token=TOKEN
    )
    client = Client(lambda: found)
    status = await asyncio.to_thread(client.status)
    assert status["instance_id"] == INSTANCE
    stream = client.events()
    first = await asyncio.to_thread(next, stream)
    assert (first.type, first.data) == ("snapshot", {"n": 0})
    await asyncio.to_thread(stream.close)  # type: ignore[attr-defined]  # it is a generator
    impostor = Client(lambda: dataclasses.replace(found, token="x" * 43))
    with pytest.raises(DaemonUntrusted):
        await asyncio.to_thread(impostor.status)


async def test_half_an_emoji_and_a_byte_order_mark_do_not_cost_a_body(api: MiddlewareStage) -> None:
    kind = {"Content-Type": "application/json"}
    for raw in (rb'{"text": "cut \ud83d"}', b'\xef\xbb\xbf{"text": "cut \xed\xa0\xbd"}'):
        status, body, _ = await api.call("POST", "/v1/sample", data=raw, headers=kind)
        assert (status, body) == (200, {"text": "cut \ufffd"})
