"""A read-only disk: requests that store are refused with 507, reads work."""

from __future__ import annotations

import asyncio
import json
import re
import resource
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest
from yarl import URL

from clipperd.storage.database import Connection, ConnectionThread, Job
from clipperd.web.app import ROUTES
from clipperd.web.routes import Route
from cloud_broker.sandbox.seed import READING_LIST, WORKSPACE
from tests.security.answers import Findings
from tests.security.test_daemon_bodies import BODIES
from tests.security.whole_system import Daemon, WholeSystem

NEEDS_NO_DISK = {
    "POST /v1/hello": "a proof",
    "POST /v1/convert": "a preview",
    "POST /v1/outlines": "a read",
    "POST /v1/shutdown": "an end",
    "POST /v1/queue/adopt": "no other account has clips here",
    "PATCH /v1/settings": "is in config.toml; see test_a_setting_that_has_no_room_is_refused",
}
"""What is no GET and stores nothing here. All of Notion's API is passed through besides: what it
has made is made, whatever becomes of our note of it."""


@dataclass
class Disk:
    """Whether the databases can be written, and whether not from the next request on."""

    read_only: bool = False
    fails_once_sent: bool = False

    def make_executor(self, name: str, connection: Connection) -> ConnectionThread:
        """A thread whose connection SQLite forbids to write while the disk is read-only."""
        plain = connection.execute

        def execute(batch: Sequence[Job]) -> None:
            if name.endswith("-writer"):
                if self.fails_once_sent and name == "outbox-writer":
                    sent = connection.sqlite.execute("SELECT count(*) FROM request").fetchone()[0]
                    self.read_only = self.read_only or sent > 0
                word = "ON" if self.read_only else "OFF"
                connection.sqlite.execute(f"PRAGMA query_only={word}")
            plain(batch)

        connection.execute = execute  # type: ignore[method-assign]  # the disk is the seam
        return ConnectionThread(name, connection)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def daemon(house: WholeSystem, disk: Disk) -> AsyncIterator[Daemon]:
    """In place of the folder's own: one whose disk a test can make read-only."""
    async with house.daemon(make_executor=disk.make_executor) as running:
        assert "You can close this window" in await running.sign_in()
        yield running


async def furnished(daemon: Daemon) -> dict[str, str]:
    """Leave something that every route can be about; return what stands for each parameter."""
    assert (await daemon.call("POST", "/v1/queue/pause"))[0] == 200
    clip = await daemon.clip(READING_LIST, "waits")
    await daemon.call("GET", f"/v1/pages/{READING_LIST}/outline")
    _, _, client = await daemon.call(
        "POST", "/v1/clients", json={"name": "app", "scopes": ["read"]}
    )
    _, _, login = await daemon.call("POST", "/v1/session/login", json={"return": "app"})
    return {
        "{clip_id}": clip["id"],
        "{client_id}": client["id"],
        "{login_id}": login["login_id"],
        "{page_id}": READING_LIST,
        "/pages/{id}": f"/pages/{READING_LIST}",
        "/workspaces/{id}": f"/workspaces/{WORKSPACE}?confirm=1",
        "delivery": clip["deliveries"][0]["id"],
        "deep link": await deep_link(daemon, login["login_url"]),
    }


async def deep_link(daemon: Daemon, login_url: str) -> str:
    """Sign in up to the page that hands over to the app."""
    daemon.browser.cookie_jar.clear()
    async with daemon.browser.get(login_url, allow_redirects=False) as departed:
        asked = URL(departed.headers["Location"])
    async with daemon.browser.get(asked.update_query(auto="1")) as arrived:
        found = re.search(r"notion-clipper://[^\"']+", await arrived.text())
    assert found is not None
    return unescape(found[0])


def about(known: dict[str, str], route: Route) -> str:
    path = route.path
    for parameter, value in known.items():
        path = path.replace(parameter, value)
    return path


def body_of(known: dict[str, str], route: Route) -> Any:
    body: Any = BODIES.get(f"{route.method} {route.path}", [None])[0]
    if isinstance(body, dict) and "delivery_id" in body:
        body = body | {"delivery_id": known["delivery"]}
    if isinstance(body, dict) and "workspace_id" in body:
        body = body | {"workspace_id": WORKSPACE}
    if route.path == "/v1/session/callback":
        body = {"url": known["deep link"]}
    return body


async def test_every_route_that_stores_is_refused_with_what_to_do(
    daemon: Daemon, disk: Disk
) -> None:
    known = await furnished(daemon)
    before = await daemon.rows()
    disk.read_only = True
    found = Findings()
    # To disconnect a workspace the service is asked first; what comes after it would notice.
    for route in sorted(ROUTES, key=lambda route: route.path == "/v1/workspaces/{id}"):
        name = f"{route.method} {route.path}"
        if route.method == "GET" or route.is_notions or name in NEEDS_NO_DISK:
            continue
        headers = {"If-Match": "1"}
        path, body = about(known, route), body_of(known, route)
        status, _, answer = await daemon.call(route.method, path, json=body, headers=headers)
        if (status, answer.get("code") if isinstance(answer, dict) else answer) != (
            507,
            "storage_full",
        ):
            found.check(name, f"{status} {answer}")
        elif "writable" not in answer["hint"] or "safe" not in answer["detail"]:
            found.check(name, f"does not say what to do: {answer}")
    assert not found, found.told()
    assert await daemon.rows() == before
    assert (await daemon.parts.session.view()).state == "signed_in"


async def test_what_is_stored_is_readable_all_the_while(daemon: Daemon, disk: Disk) -> None:
    known = await furnished(daemon)
    disk.read_only = True
    page, clip = f"/v1/pages/{READING_LIST}", f"/v1/clips/{known['{clip_id}']}"
    asked = [about(known, route) for route in ROUTES if route.method == "GET"]
    asked = [path for path in asked if "{" not in path and "callback" not in path]
    asked.remove("/v1/events")
    asked += [f"{page}?freshness=verified", "/v1/pages?q=reading", "/v1/pages?q=reading&remote=1"]
    asked += [f"{page}/outline?freshness={word}" for word in ("cached", "auto", "verified")]
    assert {clip, f"{clip}/content", f"{page}/outline", "/v1/health"} < set(asked)
    found = Findings()
    for path in asked:
        status, _, answer = await daemon.call("GET", path)
        if status != 200:
            found.check(path, f"{status} {answer}")
    assert not found, found.told()
    _, _, outlines = await daemon.call("POST", "/v1/outlines", json={"page_ids": [READING_LIST]})
    assert "outline" in outlines["results"][0]


async def test_what_notion_has_taken_but_had_no_room_for_its_receipt_is_there_once(
    daemon: Daemon, disk: Disk
) -> None:
    disk.fails_once_sent = True
    clip = await daemon.clip(READING_LIST, "only once")
    while True:
        if await copies(daemon, "only once"):
            break
        await asyncio.sleep(0.02)
    later = await daemon.call("POST", "/v1/clips", json=clip_body("refused"))
    assert later[0] == 507
    _, _, shown = await daemon.call("GET", f"/v1/clips/{clip['id']}")
    assert shown["state"] == "sending"
    disk.fails_once_sent = disk.read_only = False
    assert (await daemon.call("POST", "/v1/queue/retry", json={}))[0] == 200  # and not in 5 s
    assert (await daemon.settled(clip["id"]))["state"] == "delivered"
    behind = await daemon.clip(READING_LIST, "behind it")
    assert (await daemon.settled(behind["id"]))["state"] == "delivered"
    assert [await copies(daemon, text) for text in ("only once", "refused", "behind it")] == [
        1,
        0,
        1,
    ]


async def test_what_was_passed_through_is_answered_as_notion_did_though_it_cannot_be_noted(
    daemon: Daemon, disk: Disk
) -> None:
    disk.read_only = True
    path = f"/v1/notion/blocks/{READING_LIST}/children"
    block = {"paragraph": {"rich_text": [{"text": {"content": "passed through"}}]}}
    status, _, made = await daemon.call("PATCH", path, json={"children": [block]})
    assert (status, len(made["results"])) == (200, 1)
    assert await copies(daemon, "passed through") == 1


async def test_a_browser_is_told_that_the_sign_in_could_not_be_stored(
    daemon: Daemon, disk: Disk
) -> None:
    started = await daemon.parts.session.start_login("loopback")
    daemon.browser.cookie_jar.clear()
    async with daemon.browser.get(started.login_url, allow_redirects=False) as departed:
        asked = URL(departed.headers["Location"])
    disk.read_only = True
    async with daemon.browser.get(asked.update_query(auto="1")) as arrived:
        assert arrived.status == 507
        assert "writable" in await arrived.text()
    assert (await daemon.parts.session.view()).state == "signed_in"


async def test_a_setting_that_has_no_room_is_refused(daemon: Daemon) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = (await daemon.call("GET", "/v1/settings"))[2]
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # no file of this process may grow
    try:
        status, _, answer = await daemon.call("PATCH", "/v1/settings", json={"refresh_s": 60})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (status, answer["code"]) == (507, "storage_full")
    assert "Free some space" in answer["hint"]
    assert (await daemon.call("GET", "/v1/settings"))[2] == before


def clip_body(text: str) -> dict[str, Any]:
    return {"targets": [{"page_id": READING_LIST}], "content": {"format": "text", "text": text}}


async def copies(daemon: Daemon, text: str) -> int:
    """How often the text stands on the page."""
    _, _, children = await daemon.call(
        "GET", f"/v1/notion/blocks/{READING_LIST}/children?page_size=100"
    )
    return json.dumps(children).count(f'"plain_text": "{text}"')
