"""The way to the broker through a real proxy: 192.0.2.1 (RFC 5737) is reached through it alone."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from clipperd.broker.http import AiohttpHttp
from clipperd.daemon.assembly import Daemon, assemble
from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.daemon.system import System
from clipperd.errors import BrokerUnreachable
from clipperd.settings.config import load
from clipperd.settings.locations import locate, secure
from clipperd.settings.proxy import proxy_for
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from tests.stack.certificate import self_signed
from tests.stack.connect_proxy import ConnectProxy, connect_proxy

BROKER = "https://192.0.2.1"
HELLO = b'{"broker": "hello"}'
CANARY = "c4n4ry-proxy-password"


@asynccontextmanager
async def broker_behind_proxy(certificate: Path) -> AsyncIterator[ConnectProxy]:
    """A proxy to a broker that says hello."""
    asked = web.Application()
    asked.router.add_route("*", "/{path:.*}", _hello)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = TestServer(asked, scheme="https")
    await server.start_server(ssl=context)
    try:
        async with connect_proxy(server.port or 0) as proxy:
            yield proxy
    finally:
        await server.close()


async def _hello(_: web.Request) -> web.Response:
    return web.json_response({"broker": "hello"})


def an_http(proxy: ConnectProxy, ca_file: Path | None) -> AiohttpHttp:
    address = f"http://ada:{CANARY}@{proxy.name}"
    return AiohttpHttp(proxy=partial(proxy_for, setting=address, env={}), ca_file=ca_file)


async def failure(http: AiohttpHttp, url: str = BROKER) -> BrokerUnreachable:
    """The error of a request, which must be the same on the event stream."""
    with pytest.raises(BrokerUnreachable) as failed:
        await http.request("POST", URL(url), headers={}, body=b"{}", total_s=5)
    with pytest.raises(BrokerUnreachable) as stream:
        async with http.stream(URL(url), headers={}, idle_s=5):
            pass
    assert (stream.value.detail, stream.value.sent) == (failed.value.detail, failed.value.sent)
    assert failed.value.__suppress_context__
    return failed.value


async def test_requests_and_the_stream_go_through_the_proxy(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "192.0.2.1")
    async with broker_behind_proxy(certificate) as proxy:
        http = an_http(proxy, certificate)
        answer = await http.request("POST", URL(BROKER), headers={}, body=b"{}", total_s=5)
        async with http.stream(URL(BROKER), headers={}, idle_s=5) as incoming:
            assert b"".join([part async for part in incoming.chunks()]) == HELLO
        await http.close()
    assert answer.body == HELLO
    assert all(head.startswith("CONNECT 192.0.2.1:443 ") for head in proxy.heads)
    assert all("Proxy-Authorization: Basic YWRhOm" in head for head in proxy.heads)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ("407 Proxy Authentication Required", "refuses the user name and password"),
        ("403 Forbidden", "refuses the way to the service (status 403)"),
        ("502 Bad Gateway", "(status 502)"),
        ("", "broke off"),
    ],
)
async def test_a_proxy_that_refuses_is_named_and_nothing_is_sent(
    tmp_path: Path, refusal: str, said: str
) -> None:
    async with broker_behind_proxy(self_signed(tmp_path, "192.0.2.1")) as proxy:
        proxy.refusal = refusal
        http = an_http(proxy, None)
        failed = await failure(http)
        await http.close()
    assert failed.sent is False
    assert said in failed.detail
    assert f"the proxy {proxy.name}" in failed.detail.replace("The", "the")


async def test_a_proxy_that_is_away_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    async with connect_proxy(0) as proxy:
        http = an_http(proxy, None)
    failed = await failure(http)
    await http.close()
    assert failed.sent is False
    assert failed.detail.startswith(f"The proxy {proxy.name} cannot be reached.")


async def test_a_private_ca_is_trusted_only_when_ca_file_names_it(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "192.0.2.1")
    (tmp_path / "empty.pem").write_text("")
    async with broker_behind_proxy(certificate) as proxy:
        for file, said in (
            (None, "The service's certificate is not trusted."),
            (tmp_path / "none.pem", "ca_file has no certificates"),
            (tmp_path / "empty.pem", "ca_file has no certificates"),
        ):
            http = an_http(proxy, file)
            failed = await failure(http)
            await http.close()
            assert said in failed.detail
            assert "ca_file" in failed.detail
            assert failed.sent is False


async def test_the_environments_proxy_is_named_by_health_and_its_password_by_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    certificate = self_signed(tmp_path, "192.0.2.1")
    async with broker_behind_proxy(certificate) as proxy:
        env = {"HTTPS_PROXY": f"http://ada:{CANARY}@{proxy.name}"}
        given = {"broker_url": BROKER, "ca_file": str(certificate)}
        async with a_daemon(tmp_path, env, given) as daemon:
            await daemon.session.start_login("app")
            assert f"through the proxy {proxy.name}." in await link_check(daemon)
            proxy.refusal = "407 Proxy Authentication Required"
            await daemon.http.drop_connections()
            with pytest.raises(BrokerUnreachable):
                await daemon.session.start_login("app")
            shown = await link_check(daemon)
            shown += str(await daemon.settings.view())
    assert "refuses the user name" in shown
    assert CANARY not in shown + caplog.text


@asynccontextmanager
async def a_daemon(home: Path, env: dict[str, str], given: dict[str, str]) -> AsyncIterator[Daemon]:
    """The daemon's parts with these settings."""
    settings = load(env, {"home": str(home), "secrets": "memory", **given}, "")
    locations = locate(home)
    secure(locations)
    outbox = Database.open(locations.outbox, name="outbox", steps=STEPS, synchronous="FULL")
    cache = open_cache(locations.cache, CACHE_STEPS)
    daemon = await assemble(settings, locations, outbox, cache, System(env=env))
    yield daemon
    await daemon.close()
    cache.close()
    outbox.close()


async def link_check(daemon: Daemon) -> str:
    report = await daemon.health.report(0.0)
    return next(check.detail for check in report.checks if check.id == "link")
