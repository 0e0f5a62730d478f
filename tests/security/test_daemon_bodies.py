"""Bad bodies, ids, queries and headers on every route of the daemon: refused without effect."""

from __future__ import annotations

import asyncio
import json
import re
from random import Random
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import pytest

from clipperd.web.app import ROUTES
from clipperd.web.routes import Route
from tests.security import hostile
from tests.security.answers import Findings, no_problem
from tests.security.test_daemon_door import AN_ID, named
from tests.security.whole_system import OWNER_TOKEN, Daemon, WholeSystem, untouched

_PARAMETER = re.compile(r"\{[^}]*\}")
JSON = {"Content-Type": "application/json"}
FORM = '--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nbytes\r\n--x--\r\n'
FORM_KIND = {"Content-Type": "multipart/form-data; boundary=x"}
TEXT = {"format": "text", "text": "hello"}
PARAGRAPH = {
    "type": "paragraph",
    "paragraph": {"rich_text": [{"type": "text", "text": {"content": "x"}}]},
}
TARGET = {
    "page_id": AN_ID,
    "position": {"type": "end_of_section", "heading_id": AN_ID, "if_gone": "ask"},
    "headings": "keep",
}

BODIES: dict[str, list[Any]] = {
    "POST /v1/hello": [{"nonce": "abc", "client_id": "owner"}],
    "POST /v1/clients": [{"name": "app", "scopes": ["read"]}],
    "POST /v1/shutdown": [{"when": "idle"}],
    "POST /v1/session/login": [{"return": "app", "purpose": "sign_in", "device": "desk"}],
    "POST /v1/session/callback": [{"url": "notion-clipper://auth?token=a&state=b"}],
    "PUT /v1/workspaces/current": [{"workspace_id": AN_ID}],
    "POST /v1/outlines": [{"page_ids": [AN_ID], "freshness": "cached"}],
    "POST /v1/clips": [
        {
            "targets": [TARGET],
            "content": TEXT,
            "workspace_id": AN_ID,
            "priority": "low",
            "not_before": "2026-11-22T10:00:00Z",
            "source": {"app": "a", "url": "https://example.org"},
            "headings": "demote",
        },
        {
            "targets": [
                {"page_id": AN_ID, "position": {"type": "after_block", "block_id": AN_ID}},
                {
                    "page_ref": "later",
                    "position": {"type": "after_heading", "heading": {"text": "a", "path": ["b"]}},
                },
                {
                    "new_page": {
                        "ref": "later",
                        "parent": {"page_id": AN_ID},
                        "title": "t",
                        "properties": {"Name": {"title": []}},
                        "icon": {"type": "emoji", "emoji": "x"},
                    }
                },
            ],
            "content": [
                {"format": "markdown", "markdown": "# a"},
                {"format": "blocks", "blocks": [PARAGRAPH]},
                {"format": "url", "url": "https://example.org"},
            ],
        },
    ],
    "POST /v1/clips/{clip_id}/cancel": [{"delivery_id": AN_ID}],
    "POST /v1/clips/{clip_id}/retry": [{"delivery_id": AN_ID}],
    "POST /v1/clips/{clip_id}/resolve": [{"as": "resend", "delivery_id": AN_ID}],
    "POST /v1/clips/{clip_id}/undo": [{"delivery_id": AN_ID}],
    "POST /v1/clips/{clip_id}/retarget": [{"delivery_id": AN_ID, "target": TARGET}],
    "PATCH /v1/clips/{clip_id}": [
        {"content": TEXT, "priority": "low", "not_before": "2026-11-22T10:00:00Z"}
    ],
    "POST /v1/queue/pause": [{"for_s": 5}],
    "POST /v1/queue/resume": [{}],
    "POST /v1/queue/retry": [{}],
    "POST /v1/queue/adopt": [{"user_id": "of-no-account"}],
    "PUT /v1/pages/{page_id}/lane": [{"parked": "wait"}],
    "POST /v1/convert": [
        {"content": TEXT},
        {"content": [{"format": "blocks", "blocks": [PARAGRAPH]}]},
    ],
    "PATCH /v1/settings": [{"log_level": "debug"}],
}
"""A good body, or several, of every route that takes one: what is bad is made from these."""


def test_every_route_with_a_body_has_a_good_one_here() -> None:
    taking = {f"{route.method} {route.path}" for route in ROUTES if route.body is not None}
    assert taking | {"PATCH /v1/settings"} == set(BODIES)


@pytest.fixture(autouse=True)
async def held(daemon: Daemon) -> None:
    """The queue stands still, so that only the requests themselves could send anything."""
    assert (await daemon.call("POST", "/v1/queue/pause"))[0] == 200


async def _is_harmless(
    daemon: Daemon, answer: tuple[int, dict[str, str], Any], before: dict[str, int]
) -> str | None:
    """A refusal stored nothing; anything else at least did not fail."""
    status = answer[0]
    if status >= 500:
        return f"{status} {answer[2]}"
    if status < 400:
        return None
    after = await daemon.rows()
    if after != before:
        return f"{status}, but stored {set(after.items()) ^ set(before.items())}"
    return no_problem(*answer)


async def test_a_body_that_is_no_object_is_refused_on_every_route(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    async with untouched(house, daemon):
        for name, method, path, _ in named([r for r in ROUTES if _key(r) in BODIES]):
            for what, raw in hostile.NOT_BODIES.items():
                headers = JSON | {"If-Match": "1"}
                answer = await daemon.call(method, path, data=raw, headers=headers)
                found.check(f"{name}: {what}", no_problem(*answer, 400))
        assert not found, found.told()


async def test_a_pass_through_body_that_is_no_object_is_refused(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    async with untouched(house, daemon):
        for path in ("search", f"pages/{AN_ID}", f"blocks/{AN_ID}/children"):
            for what, raw in hostile.NOT_BODIES.items():
                method = "POST" if path == "search" else "PATCH"
                if what == "an unknown field":  # the broker's to say
                    continue
                answer = await daemon.call(method, f"/v1/notion/{path}", data=raw, headers=JSON)
                found.check(f"{path}: {what}", no_problem(*answer, 400))
        assert not found, found.told()


async def test_a_bad_value_in_any_place_of_a_body_is_refused(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    for name, method, path, route in named([r for r in ROUTES if _key(r) in BODIES]):
        before = await daemon.rows()
        for what, changed in hostile.variants(BODIES[name]):
            calls, headers = house.calls, JSON | {"If-Match": "1"}
            answer = await daemon.call(method, path, data=json.dumps(changed), headers=headers)
            found.check(f"{name} {what}", await _is_harmless(daemon, answer, before))
            if answer[0] < 400:
                before = await daemon.rows()
                if route.body is not None and not _fits(changed, route.body):
                    found.check(f"{name} {what}", f"accepted with {answer[0]}")
            elif house.calls != calls:
                found.check(f"{name} {what}", f"{answer[0]}, but Notion was called")
    assert not found, found.told()


async def test_a_bad_id_in_the_path_is_refused_on_every_route(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    async with untouched(house, daemon, ("notion",)):  # which calls exist is the broker's to say
        for name, method, _, route in named([r for r in ROUTES if "{" in r.path]):
            for piece in hostile.PIECES:
                path = _PARAMETER.sub(piece.replace("\\", ""), route.path)
                body = BODIES.get(_key(route), [None])[0]
                data, kind = (FORM, FORM_KIND) if route.form_bytes else (json.dumps(body), JSON)
                is_empty = body is None and not route.form_bytes
                answer = await daemon.call(
                    method,
                    path,
                    data=None if is_empty else data,
                    headers=({} if is_empty else kind) | {"If-Match": "1"},
                )
                # Braces and slashes make it a path of the route beside it, which takes no form.
                is_other = route.form_bytes and set(unquote(piece)) & set("{}/")
                allowed = (400, 404, 409, 415) if is_other else (400, 404, 409)
                found.check(f"{name} {piece[:40]}", no_problem(*answer, *allowed))
        assert not found, found.told()


async def test_a_bad_query_never_fails_and_never_stores(house: WholeSystem, daemon: Daemon) -> None:
    found = Findings()
    before = await daemon.rows()
    for name, method, path, route in named([r for r in ROUTES if r.query is not None]):
        if route.path == "/v1/events" or (method, path) == ("DELETE", "/v1/clips"):
            continue  # a stream, and a deletion that "" rightly means: below
        assert route.query is not None
        for field in msgspec.structs.fields(route.query):
            for value in hostile.QUERY_VALUES:
                answer = await daemon.call(method, f"{path}?{field.encode_name}={value}")
                where = f"{name}?{field.encode_name}={value[:30]}"
                found.check(where, await _is_harmless(daemon, answer, before))
        if "{" not in route.path:
            answer = await daemon.call(method, f"{path}?no_such_parameter=1")
            found.check(f"{name}?unknown", no_problem(*answer, 400))
    assert not found, found.told()


async def test_limits_and_cursors_that_are_none_are_refused(daemon: Daemon) -> None:
    found = Findings()
    for path in ("/v1/clips", "/v1/pages"):
        for limit in ("0", "101", "-1", "x", "1.5", "9" * 30, ""):
            answer = await daemon.call("GET", f"{path}?limit={limit}")
            found.check(f"{path} {limit}", no_problem(*answer, 400))
        for cursor in ("x", "%00", "e30", "W10", "%ff", "bnVsbA", "a" * 2000):
            answer = await daemon.call("GET", f"{path}?cursor={cursor}")
            found.check(f"{path} {cursor}", no_problem(*answer, 400))
            if answer[2]["code"] != "cursor_invalid":
                found.check(f"{path} {cursor}", answer[2]["code"])
    assert not found, found.told()


async def test_bad_event_types_and_deletions_are_refused(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    async with untouched(house, daemon):
        for query in ("types=x", "types=clip,%00", "types=%ff", "type=clip", "types=" + "x" * 5000):
            answer = await daemon.call("GET", f"/v1/events?{query}")
            found.check(query[:40], no_problem(*answer, 400))
        for query in ("state=x", "state=queued", "before=x", "before=%00", "states=failed"):
            answer = await daemon.call("DELETE", f"/v1/clips?{query}")
            found.check(query, no_problem(*answer, 400, 409))
        assert not found, found.told()


async def test_bad_headers_never_fail_and_never_store(house: WholeSystem, daemon: Daemon) -> None:
    found = Findings()
    clip = {"targets": [{"page_id": AN_ID}], "content": TEXT}
    requests: list[tuple[str, str, str, Any]] = [
        ("X-Workspace-Id", "POST", "/v1/clips", clip),
        ("X-Workspace-Id", "GET", "/v1/pages", None),
        ("X-Workspace-Id", "GET", f"/v1/pages/{AN_ID}/outline?freshness=cached", None),
        ("X-Workspace-Id", "POST", "/v1/outlines", {"page_ids": [AN_ID]}),
        ("X-Workspace-Id", "PUT", f"/v1/pages/{AN_ID}/lane", {"parked": "wait"}),
        ("X-Workspace-Id", "PUT", f"/v1/pages/{AN_ID}/favorite", None),
        ("X-Workspace-Id", "POST", "/v1/notion/search", {}),
        ("Idempotency-Key", "POST", "/v1/clips", {**clip, "workspace_id": AN_ID}),
        ("If-Match", "PATCH", f"/v1/clips/{AN_ID}", {"priority": "low"}),
        ("Last-Event-ID", "GET", "/v1/events?types=x", None),
    ]
    async with untouched(house, daemon):
        for name, method, path, body in requests:
            for value in hostile.HEADER_VALUES:
                headers = {name: value.decode("utf-8", "surrogateescape")}
                answer = await daemon.call(method, path, json=body, headers=headers)
                if not value.strip() and answer[0] < 400 and method == "GET":
                    continue  # an empty header is none
                found.check(f"{method} {path} {name}: {value[:30]!r}", no_problem(*answer))
        assert not found, found.told()


async def test_an_idempotency_key_that_is_none_stores_nothing(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    clip = {"targets": [{"page_id": AN_ID}], "content": TEXT}
    async with untouched(house, daemon):
        for value in (b"", b"a" * 256, b"\xff", "\u202e".encode(), b"a\tb"):
            headers = {"Idempotency-Key": value.decode("utf-8", "surrogateescape")}
            answer = await daemon.call("POST", "/v1/clips", json=clip, headers=headers)
            found.check(repr(value[:20]), no_problem(*answer, 400))
        assert not found, found.told()


async def test_a_stream_with_a_senseless_last_id_begins_with_a_snapshot(daemon: Daemon) -> None:
    for value in ("x", "-1", "9" * 40, "1.5", "'"):
        headers = {"Authorization": f"Bearer {OWNER_TOKEN}", "Last-Event-ID": value}
        async with daemon.browser.get(
            daemon.url.join(type(daemon.url)("/v1/events")), headers=headers
        ) as response:
            assert response.status == 200
            seen = b""
            async with asyncio.timeout(30):
                while b"event: snapshot" not in seen:
                    seen += await response.content.readany()


def _key(route: Route) -> str:
    return f"{route.method} {route.path}"


def _fits(value: Any, shape: type) -> bool:
    """Whether the schema that the API publishes lets ``value`` through."""
    try:
        msgspec.json.decode(json.dumps(value).encode(), type=shape)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return False
    return True


async def test_any_text_at_all_can_be_searched_for(daemon: Daemon) -> None:
    random = Random(20261122)
    alphabet = "aZ0_\"'*()^:-+%\\\x00\x01\n\u0301\u200d\ufeff\U0001f4a5\U0010ffffßİſ五"
    found = Findings()
    for _ in range(300):
        text = "".join(random.choices(alphabet, k=random.randint(0, 9)))
        for path in ("/v1/pages", "/v1/clips"):
            status, _, body = await daemon.call("GET", f"{path}?q={quote(text)}")
            if status != 200:
                found.check(f"{path} {text!r}", f"{status} {body}")
    assert not found, found.told()
