"""No request outside the table reaches Notion, in any spelling."""

from __future__ import annotations

import asyncio
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from cloud_broker.proxy.attempts import Upstream
from cloud_broker.proxy.errors import ProxyError
from cloud_broker.proxy.routes import ROUTES, match, parse_uuid
from tests.cloud_broker.proxy.proxy_stage import BLOCK, PAGE, PROXY, ProxyStage

ATTACKS = [
    "pages/..%2fusers",
    "pages/..%2F..%2Fv1%2Fsearch",
    f"pages/{PAGE}%3Fx=1",
    f"pages/{PAGE}%23",
    f"pages/{PAGE}/../../users",
    f"pages/{PAGE}/..;/users",
    f"pages//{PAGE}",
    f"pages/{PAGE}/",
    f"pages\\{PAGE}",
    f"pages/{PAGE}%00",
    f"pages/{PAGE}%0d%0aX: y",
    "pages/%31" + PAGE[1:],
    "pages/１１１１1111-1111-4111-8111-111111111111",
    "v1/v1/users/me",
    "users",
    f"users/{PAGE}",
    "comments",
    f"pages/{PAGE}/markdown",
    f"pages/{PAGE}/move",
    "oauth/token",
    "search/",
    "SEARCH",
    "",
]


@pytest.mark.parametrize("path", ATTACKS)
async def test_an_attack_is_a_404_and_sends_nothing(proxy: ProxyStage, path: str) -> None:
    url = proxy.client.make_url("/")
    answer = await _raw(url, f"GET {PROXY}{path} HTTP/1.1")
    assert re.match(rb"HTTP/1.[01] (404|400) ", answer), answer
    assert proxy.upstream.seen == []


async def test_dots_on_the_request_line_are_not_resolved(proxy: ProxyStage) -> None:
    url = proxy.client.make_url("/")
    for line in (
        f"GET {PROXY}pages/../users/me HTTP/1.1",
        f"GET {PROXY}../v1/users/me HTTP/1.1",
        f"GET http://evil.example{PROXY}pages/..%2fusers HTTP/1.1",
    ):
        assert b" 404 " in (await _raw(url, line)).split(b"\r\n")[0]
    assert proxy.upstream.seen == []


@pytest.mark.parametrize(
    "target",
    [
        f"{PROXY}users/me#",
        f"{PROXY}users/me#/../../search",
        f"{PROXY}blocks/{PAGE}/children?page_size=5#x",
        f"http://127.0.0.1{PROXY}users/me",
        f"ftp://evil.example{PROXY}users/me",
        f"//evil.example{PROXY}users/me",
    ],
)
async def test_a_target_that_can_be_read_in_two_ways_is_in_no_row(
    proxy: ProxyStage, target: str
) -> None:
    answer = await _raw(proxy.client.make_url("/"), f"GET {target} HTTP/1.1")
    assert b" 404 " in answer.split(b"\r\n")[0]
    assert proxy.upstream.seen == []


async def _raw(url: URL, line: str) -> bytes:
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"{line}\r\nHost: x\r\nAuthorization: Bearer ada\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_an_unknown_path_is_told_in_notions_shape(proxy: ProxyStage) -> None:
    answer = await proxy.call("GET", "comments")
    body = await answer.json()
    assert (answer.status, body["object"], body["code"]) == (404, "error", "invalid_request_url")
    assert answer.headers["X-Broker-Code"] == "route_not_allowed"
    assert body["request_id"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
async def test_another_method_does_not_exist(proxy: ProxyStage, method: str) -> None:
    assert (await proxy.call(method, "users/me")).status == 404


async def test_a_bad_id_is_named_as_notion_names_it(proxy: ProxyStage) -> None:
    answer = await proxy.call("GET", "pages/not-an-id")
    message = (await answer.json())["message"]
    assert message.startswith("path failed validation: path.page_id should be a valid uuid")


@pytest.mark.parametrize(
    "query",
    [
        "x=1",
        "page_size=1&page_size=2",
        "page_size=-1",
        "page_size=a",
        "start_cursor=",
        "start_cursor=%0a",
    ],
)
async def test_a_query_outside_the_table_is_refused(proxy: ProxyStage, query: str) -> None:
    answer = await proxy.call("GET", f"blocks/{PAGE}/children?{query}")
    assert answer.status == 400
    assert proxy.upstream.seen == []


async def test_a_cursor_cannot_smuggle_a_parameter(proxy: ProxyStage) -> None:
    await proxy.call("GET", f"blocks/{PAGE}/children?start_cursor=a%26page_size%3D9%23%2f..")
    assert proxy.upstream.seen == [
        ("GET", f"/v1/blocks/{PAGE}/children?start_cursor=a%26page_size%3D9%23%2F..")
    ]


ODD = ["..", ".", "", "%2e%2e", "v1", "a\\b", "?", "#", "\n", "é"]
PLAIN = sorted({w for route in ROUTES for w in route.words if w[0] != ":"})
words = st.sampled_from([*PLAIN, PAGE, BLOCK, *ODD])
paths = st.lists(words, max_size=5).map("/".join) | st.text(string.printable, max_size=60)
ALLOWED = re.compile(
    r"\Ahttps://api\.notion\.com/v1/[a-z_]+(/[0-9a-f-]{36})?(/(me|query|children|send|complete))?\Z"
)


@given(method=st.sampled_from(["GET", "POST", "PATCH", "DELETE"]), path=paths)
def test_whatever_matches_is_built_from_the_tables_own_words(method: str, path: str) -> None:
    try:
        route, ids, query = match(method, path, [])
    except ProxyError:
        return
    upstream = Upstream(URL("https://api.notion.com"), "2026-03-11")
    assert ALLOWED.match(str(upstream.url(route.path(ids), query)))


@pytest.mark.parametrize("text", [PAGE + "\n", PAGE + " ", PAGE[:-1], "１" * 32, PAGE + "0", ""])
def test_an_id_is_nothing_but_an_id(text: str) -> None:
    assert parse_uuid(text) is None


def test_the_table_names_each_row_once() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.words) for route in ROUTES}) == len(ROUTES)


def test_every_row_of_the_table_can_be_reached() -> None:
    for route in ROUTES:
        path = "/".join(PAGE if word.startswith(":") else word for word in route.words)
        for prefix in ("", "v1/"):
            assert match(route.method, prefix + path, [])[0] is route


def test_every_row_of_the_table_is_documented() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "broker-proxy.md").read_text()
    for route in ROUTES:
        path = "/".join(route.words)
        assert f"| `{route.method} /{path}` | {route.kind} | {route.per_minute} |" in documented


def test_a_row_that_is_asked_with_get_only_reads() -> None:
    """Such a call is given up when its caller leaves; see ``web/completion.py``."""
    assert {route.kind for route in ROUTES if route.method == "GET"} == {"read"}
