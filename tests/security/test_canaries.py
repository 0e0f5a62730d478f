"""After a whole day with faults, no secret or private text is in a forbidden place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloud_broker.sandbox.app import WORLD
from cloud_broker.sandbox.seed import WORKSPACE
from tests.security import canaries
from tests.security.canaries import Written, leaks
from tests.security.whole_system import OWNER_TOKEN, PASSPHRASE, Daemon, WholeSystem, a_house

BROKER_KEYS = ("sandbox-secret", "a2tra2tra2tra2tra2tr", "c3Nzc3Nzc3Nzc3Nzc3Nz")
DATABASES = ("outbox.db", "outbox.db-wal", "cache.db", "cache.db-wal")


@dataclass
class Day:
    """What is left in the evening."""

    folder: Path
    house: WholeSystem
    written: Written
    secrets: dict[str, str]
    metrics: str
    stream: bytes


@pytest.fixture
async def day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Day:
    caplog.set_level("CRITICAL")  # pytest's own copy is no log of ours
    written = Written()
    changes = {"CLIPPERD_SECRETS": "file", "CLIPPERD_SECRETS_PASSPHRASE": PASSPHRASE}
    async with a_house(tmp_path, **changes) as house:
        async with house.daemon() as daemon:
            page = await _a_page(house, written)
            await daemon.sign_in()
            made = await _client(daemon)
            watching = asyncio.create_task(daemon.events(b"event: clip", asyncio.sleep(0)))
            await _morning(daemon, page, written)
            await _bad_input(daemon, page, written)
            await _trouble(house, daemon, page, written)
            await _evening(house, daemon, page, written)
            stream = await watching
        _, _, metrics = await house.ask("GET", "/metrics")
        secrets = {
            f"{kind} {number}": value
            for kind, values in canaries.harvest(house.witness.exchanges).items()
            for number, value in enumerate(sorted(values))
        }
        secrets |= {"owner token": OWNER_TOKEN, "client token": made, "passphrase": PASSPHRASE}
        secrets |= {f"broker key {text[:4]}": text for text in BROKER_KEYS}
    return Day(tmp_path, house, written, secrets, str(metrics), stream)


async def _a_page(house: WholeSystem, written: Written) -> str:
    url = house.notion_url.join(type(house.notion_url)("/_sandbox/pages"))
    body = {
        "title": f"Notes {written.page}",
        "outline": f"# {written.heading}\nA line.\n# Other",
        "workspace_id": WORKSPACE,
    }
    async with house.browser.post(url, json=body) as response:
        made = await response.json()
    return str(made["id"])


async def _client(daemon: Daemon) -> str:
    body = {"name": "app", "scopes": ["read", "clip"]}
    _, _, made = await daemon.call("POST", "/v1/clients", json=body)
    await daemon.call("GET", "/v1/status", token=made["token"])
    await daemon.call("GET", "/v1/status", token=made["token"] + "x")
    await daemon.call("GET", f"/v1/status?token={made['token']}", token=None)
    return str(made["token"])


def _content(written: Written) -> dict[str, Any]:
    text = f"# {written.title}\n\n{written.body} **bold** [link](https://e.example/{written.body})"
    return {"format": "markdown", "markdown": text}


async def _morning(daemon: Daemon, page: str, written: Written) -> None:
    """List, search, read, clip, edit, undo."""
    for view in ("recent", "used", "favorites", "all"):
        await daemon.call("GET", f"/v1/pages?view={view}")
    await daemon.call("GET", f"/v1/pages?q={written.search}")
    await daemon.call("GET", f"/v1/pages?q={written.search}&remote=1")
    await daemon.call("GET", f"/v1/clips?q={written.search}")
    await daemon.call("PUT", f"/v1/pages/{page}/favorite")
    _, _, outline = await daemon.call("GET", f"/v1/pages/{page}/outline")
    heading = outline["headings"][0]["id"]
    position = {"type": "end_of_section", "heading_id": heading}
    source = {"url": f"https://e.example/{written.source}", "title": written.source}
    target = {"page_id": page, "position": position}
    body = {"targets": [target], "content": _content(written), "source": source}
    _, _, clip = await daemon.call("POST", "/v1/clips", json=body)
    await daemon.settled(clip["id"])
    later = await daemon.clip(page, written.edited, not_before="2099-01-01T00:00:00Z")
    content = {"content": {"format": "text", "text": written.edited * 2}}
    headers = {"If-Match": str(later["version"])}
    await daemon.call("PATCH", f"/v1/clips/{later['id']}", json=content, headers=headers)
    await daemon.call("POST", f"/v1/clips/{later['id']}/cancel")
    await daemon.call("POST", f"/v1/clips/{clip['id']}/undo")
    await daemon.call("POST", "/v1/convert", json={"content": _content(written)})
    by_name = {"type": "after_heading", "heading": {"text": f"{written.heading} {written.body}"}}
    lost = await daemon.clip(page, written.body, targets=[{"page_id": page, "position": by_name}])
    await daemon.settled(lost["id"])


async def _bad_input(daemon: Daemon, page: str, written: Written) -> None:
    """Every kind of refusal with private text inside what is refused."""
    text, target = written.refused, {"page_id": page}
    bodies: list[Any] = [
        {"targets": [target], "content": {"format": text, "text": text}},
        {"targets": [target], "content": {"format": "text", "text": [text]}},
        {"targets": [target], "content": {"format": "text", "markdown": text}},
        {"targets": [target], "content": text},
        {"targets": [{"page_id": text}], "content": {"format": "text", "text": text}},
        {"targets": [target], "content": {"format": "url", "url": text}},
        {"targets": [target], "content": {"format": "html", "html": text}},
        {"targets": [target], "content": {"format": "blocks", "blocks": [{"type": text}]}},
        {"targets": [target], "content": {"format": "text", "text": text}, "priority": text},
        {"targets": [target], "content": {"format": "text", "text": text}, "not_before": text},
        {"targets": [{"new_page": {"parent": {"page_id": page}, "title": text * 500}}]},
        {"targets": [{"page_ref": "unknown"}], "content": {"format": "text", "text": text}},
    ]
    rich = {"rich_text": [{"type": "text", "text": {"content": text, "link": {"url": text}}}]}
    for block in ({"type": "code", "code": {**rich, "language": text}}, {"paragraph": rich}):
        blocks = {"format": "blocks", "blocks": [block]}
        bodies.append({"targets": [target], "content": blocks})
    for body in bodies:
        await daemon.call("POST", "/v1/clips", json=body)
        await daemon.call("POST", "/v1/convert", json={"content": body.get("content")})
        await daemon.call("POST", "/v1/notion/search", json={"query": text, "filter": body})
    for method, path in (("PATCH", f"pages/{page}"), ("PATCH", f"blocks/{page}/children")):
        await daemon.call(method, f"/v1/notion/{path}", json={"children": text})
        await daemon.call(method, f"/v1/notion/{path}", data=text.encode())
    await daemon.call("POST", "/v1/session/callback", json={"url": f"x://{text}?token={text}"})
    await daemon.call("PATCH", "/v1/settings", json={"log_level": text})


async def _trouble(house: WholeSystem, daemon: Daemon, page: str, written: Written) -> None:
    """Notion misbehaves in every way; tokens end and are renewed."""
    faults = house.notion_url.join(type(house.notion_url)("/_sandbox/faults"))
    kinds = ("429", "5xx_before", "drop_after", "html_502", "garbage", "truncated", "error")
    for kind in kinds:
        rule = {"kind": kind, "route": "PATCH /v1/blocks/{id}/children", "times": 1}
        rules = {"rules": [rule], "replace": True}
        async with house.browser.post(faults, json=rules) as answer:
            assert answer.status in (200, 201), await answer.text()
        clip = await daemon.clip(page, f"{written.body} {kind}")
        async with asyncio.timeout(20):
            await daemon.settled(clip["id"])
    world = house.notion[WORLD]
    for token in world.tokens.values():
        token.ends_at = 1.0  # Notion ends it: the broker refreshes
    clip = await daemon.clip(page, f"{written.body} refreshed")
    await daemon.settled(clip["id"])
    user = await daemon.parts.session.accounts.current_user()
    assert user is not None
    stale = await daemon.parts.session.token_for(user)
    assert await daemon.parts.session.token_for(user, stale) != stale


async def _evening(house: WholeSystem, daemon: Daemon, page: str, written: Written) -> None:
    """The person withdraws the access at Notion, signs in anew, and out."""
    world = house.notion[WORLD]
    world.tokens.clear()
    world.refreshes.clear()
    clip = await daemon.clip(page, f"{written.body} held")
    async with asyncio.timeout(20):
        while (await daemon.call("GET", "/v1/session"))[2]["state"] != "reauth_required":
            await daemon.call("GET", "/v1/clips")
    await daemon.sign_in()
    await daemon.settled(clip["id"])
    await daemon.call("GET", "/v1/health")
    await daemon.call("GET", "/v1/session/callback?token=eyJhbGciOiJub25lIn0.e30.x&state=nowhere")
    await daemon.call("DELETE", "/v1/session")


def _own_files(day: Day) -> Iterator[tuple[str, bytes]]:
    yield from canaries.files(day.folder / "home")


async def test_nothing_secret_or_private_leaks_in_a_whole_day(day: Day) -> None:
    kinds = {kind.rsplit(" ", 1)[0] for kind in day.secrets}
    assert {"notion access_token", "notion refresh_token", "broker access_token"} <= kinds
    assert {"daemon token", "broker code", "broker refresh_token", "notion Bearer"} <= kinds
    assert "broker code_verifier" in kinds
    found = [
        *_in_logs(day),
        *_in_files(day),
        *_in_errors(day),
        *_in_addresses(day),
        *leaks("/metrics", day.metrics, day.secrets | day.written.all()),
        *leaks("the event stream", day.stream, day.secrets),
    ]
    assert not found, "\n".join(sorted(set(found)))


def _in_logs(day: Day) -> Iterator[str]:
    everything = day.secrets | day.written.all()
    log = day.house.broker_log.getvalue()
    assert '"route"' in log
    yield from leaks("the broker's log", log, everything)
    for name, content in _own_files(day):
        if "log" in name:
            assert content, name
            yield from leaks(name, content, everything)


def _in_files(day: Day) -> Iterator[str]:
    for name, content in _own_files(day):
        yield from leaks(name, content, day.secrets)
        if not name.startswith("outbox.db"):
            yield from leaks(name, content, day.written.clips())
        if not name.endswith(DATABASES):
            yield from leaks(name, content, day.written.all())
        yield from leaks(name, content, {"search": day.written.search})
    for path in sorted(day.folder.glob("broker.db*")):
        yield from leaks(path.name, path.read_bytes(), day.secrets | day.written.all())


def _in_errors(day: Day) -> Iterator[str]:
    seen = 0
    for each in day.house.witness.exchanges:
        if each.server != "notion" and each.status >= 400:
            seen += 1
            where = f"an error: {each.server} {each.method} {each.url[:60]} {each.answered[:300]!r}"
            # Notion's own words pass as they are, and quote what was sent to its sender.
            is_notions = b'"object":"error"' in each.answered and b"er_code" not in each.answered
            private = {} if is_notions else day.written.all()
            yield from leaks(where, each.answered, day.secrets | private)
    assert seen > 30


def _in_addresses(day: Day) -> Iterator[str]:
    """A hand-off and a code travel in a redirect, and a search in the daemon's address; no more."""
    redirect = ("/session/callback?", "/auth/notion/callback?", "/v1/oauth/authorize?")
    for each in day.house.witness.exchanges:
        allowed = day.secrets | day.written.all()
        if each.server == "daemon":
            allowed.pop("search")
            if "?token=" in each.url and each.status == 400:
                continue  # this test's own bad manners
        for url in (each.url, each.location):
            if not any(part in url for part in redirect):
                yield from leaks(f"{each.server} {url[:80]}", url, allowed)
            else:
                for_good = {
                    kind: value
                    for kind, value in allowed.items()
                    if not kind.startswith(("daemon token", "broker token", "broker code"))
                    and not kind.startswith(("notion code", "broker Bearer"))
                }
                yield from leaks(f"{each.server} {url[:60]}", url, for_good)
