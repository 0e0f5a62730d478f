"""The daemon's port to Notion, through the real broker, to the sandbox."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from clipperd.broker.reply import Reply
from clipperd.delivery.outcome import NotApplied, of_append
from clipperd.errors import ReauthRequired
from clipperd.notion.port import Call, Notion
from clipperd.notion.writes import BrokerWrites
from clipperd.web.handlers.notion import ROUTES as DAEMON_ROUTES
from cloud_broker.proxy.routes import ROUTES as BROKER_ROUTES
from tests.contract.session_to_sandbox import SessionToSandbox, a_chain


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[SessionToSandbox]:
    """Everything running, and the person signed in."""
    async with a_chain(tmp_path) as started:
        assert "You can close this window" in await started.sign_in()
        yield started


def _key(chain: SessionToSandbox) -> str:
    """A UUIDv7 by the server's clock: 48 bits of milliseconds, then version, variant, chance."""
    stamp = int(chain.world.client.server_now() * 1000)
    tail = secrets.randbits(74)
    value = stamp << 80 | 7 << 76 | (tail >> 62) << 64 | 2 << 62 | tail & (1 << 62) - 1
    return str(UUID(int=value))


async def _a_page(chain: SessionToSandbox) -> str:
    scope = await chain.world.accounts.scope()
    body = json.dumps({"filter": {"property": "object", "value": "page"}}).encode()
    found = await chain.world.notion.send(scope, Call("POST", "search", body=body))
    assert found.ok, found
    page: str = found.body["results"][0]["id"]
    return page


async def _append(chain: SessionToSandbox, page: str, text: str, key: str) -> Reply:
    scope = await chain.world.accounts.scope()
    block = {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": text}}]}}
    body = json.dumps({"children": [block]}).encode()
    return await chain.world.notion.send(
        scope, Call("PATCH", f"blocks/{page}/children", body=body, key=key)
    )


async def _trash(chain: SessionToSandbox, page: str, whether: str) -> None:
    scope = await chain.world.accounts.scope()
    body = b'{"in_trash": %s}' % whether.encode()
    reply = await chain.world.notion.send(scope, Call("PATCH", f"pages/{page}", body=body))
    assert reply.ok, reply


async def _paragraphs(chain: SessionToSandbox, page: str) -> list[str]:
    scope = await chain.world.accounts.scope()
    listed = await chain.world.notion.send(
        scope, Call("GET", f"blocks/{page}/children", query={"page_size": "100"})
    )
    assert listed.ok, listed
    assert not listed.body["has_more"]
    return [
        "".join(run["plain_text"] for run in block["paragraph"]["rich_text"])
        for block in listed.body["results"]
        if block["type"] == "paragraph"
    ]


async def test_a_read_reaches_notion_as_the_account(chain: SessionToSandbox) -> None:
    notion: Notion = chain.world.notion
    scope = await chain.world.accounts.scope()
    page = await _a_page(chain)
    reply = await notion.send(
        scope, Call("GET", f"blocks/{page}/children", query={"page_size": "3"})
    )
    assert reply.ok
    assert reply.body["object"] == "list"
    assert reply.date is not None
    assert chain.world.connectivity.status.state == "online"


async def test_the_accounts_writes_are_told_with_what_they_made(chain: SessionToSandbox) -> None:
    writes = BrokerWrites(chain.world.client, chain.world.session)
    scope, page = await chain.world.accounts.scope(), await _a_page(chain)
    begun = chain.world.client.server_now() - 1
    keys = [_key(chain) for _ in range(3)]
    replies = [
        await _append(chain, page, text, key)
        for text, key in zip(("same", "same", "other"), keys, strict=True)
    ]
    found = {write.key: write for write in (await writes.since(scope, begun)).writes}
    assert list(found) == keys[::-1] or set(found) == set(keys)
    for key, reply in zip(keys, replies, strict=True):
        assert found[key].created == (reply.body["results"][0]["id"],)
    one, two, three = (found[key] for key in keys)
    assert one.address == two.address == three.address
    assert one.content == two.content != three.content
    assert (await writes.since(scope, begun + 3600)).writes == ()
    week, month = begun - 7 * 86_400, begun - 30 * 86_400
    assert (await writes.since(scope, week)).whole
    assert not (await writes.since(scope, month)).whole


async def test_what_is_told_of_a_known_write_changes_nothing(chain: SessionToSandbox) -> None:
    writes = BrokerWrites(chain.world.client, chain.world.session)
    scope, page, key = await chain.world.accounts.scope(), await _a_page(chain), _key(chain)
    reply = await _append(chain, page, "one", key)
    await writes.settled(scope, key, [])
    (found,) = (await writes.since(scope, chain.world.client.server_now() - 60)).writes
    assert found.created == (reply.body["results"][0]["id"],)


async def test_a_write_repeated_under_its_key_is_applied_once(chain: SessionToSandbox) -> None:
    page = await _a_page(chain)
    key = _key(chain)
    first = await _append(chain, page, "once", key)
    second = await _append(chain, page, "once", key)
    assert first.ok, first
    assert second.ok, second
    assert first.body["results"][0]["id"] == second.body["results"][0]["id"]
    assert (await _paragraphs(chain, page)).count("once") == 1


async def test_a_late_copy_of_a_refused_write_is_not_executed(chain: SessionToSandbox) -> None:
    """A line that delivers a request twice, of which Notion refused the first."""
    page, key = await _a_page(chain), _key(chain)
    await _trash(chain, page, "true")
    refused = await _append(chain, page, "late", key)
    assert (refused.status, refused.broker_code) == (400, None), refused
    await _trash(chain, page, "false")
    copy = await _append(chain, page, "late", key)
    assert (copy.status, copy.broker_code) == (409, "idempotency_key_spent")
    assert of_append(copy, expected=1, anchored=False) == NotApplied(
        None, None, False, "idempotency_key_spent", copy.message, proven=True
    )
    assert "late" not in await _paragraphs(chain, page)


async def test_errors_of_notion_arrive_in_notions_words(chain: SessionToSandbox) -> None:
    scope = await chain.world.accounts.scope()
    page = "00000000-0000-4000-8000-000000000000"
    reply = await chain.world.notion.send(scope, Call("GET", f"blocks/{page}/children"))
    assert (reply.status, reply.code, reply.broker_code) == (404, "object_not_found", None)
    assert reply.message


async def test_the_broker_says_when_it_is_the_one_that_refuses(chain: SessionToSandbox) -> None:
    page = await _a_page(chain)
    key = _key(chain)
    assert (await _append(chain, page, "one", key)).ok
    reply = await _append(chain, page, "other", key)
    assert (reply.status, reply.broker_code) == (422, "idempotency_key_reused")


async def test_access_withdrawn_at_notion_asks_for_a_new_sign_in_that_mends_it(
    chain: SessionToSandbox,
) -> None:
    page = await _a_page(chain)
    bot = await chain.world.accounts.bot_id(await chain.world.accounts.scope())
    async with chain.browser.post(
        chain.sandbox / "_sandbox/revoke", json={"bot_id": bot}
    ) as revoked:
        assert revoked.status == 200, await revoked.text()
    with pytest.raises(ReauthRequired):
        await _append(chain, page, "refused", _key(chain))
    view = await chain.world.session.view()
    assert (view.state, view.why) == ("reauth_required", "notion_token_invalid")
    await chain.sign_in()
    assert (await _append(chain, page, "accepted", _key(chain))).ok


def test_the_daemon_describes_the_calls_that_the_broker_allows() -> None:
    described = {
        (route.method, re.sub("{[^}]*}", ":", path.removeprefix("/v1/notion/")))
        for route in DAEMON_ROUTES
        for path in route.calls or ()
    }
    allowed = {
        (route.method, "/".join(":" if word.startswith(":") else word for word in route.words))
        for route in BROKER_ROUTES
    }
    assert described == allowed
