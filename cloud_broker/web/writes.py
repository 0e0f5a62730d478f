"""Serves ``/api/notion/writes``: the blocks and pages that an account's writes created, by key.

A daemon that looks for its write with an unknown outcome must not mistake another daemon's blocks
for its own: all daemons of an account write as the same bot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web

from cloud_broker.clock import from_rfc3339, rfc3339
from cloud_broker.errors import InvalidInput
from cloud_broker.identity.sessions import Claims
from cloud_broker.proxy.errors import ProxyError
from cloud_broker.proxy.keys import REMEMBERED_MS, first_key, likeness, parse_key
from cloud_broker.proxy.routes import parse_uuid
from cloud_broker.storage.database import to_ms
from cloud_broker.storage.idempotency import Idempotency, KeyId, Write
from cloud_broker.web.bodies import answer, read_body, signed_in
from cloud_broker.web.keys import CLOCK, DATABASE, RATE_LIMIT

PER_MINUTE = 120  # and account, both routes together
PAGE_SIZE = 2_000  # writes: an account's limit for an hour and a half
ROUTES = web.RouteTableDef()


class SettledWrite(msgspec.Struct, forbid_unknown_fields=True):
    """The ids that a write created, in order; empty when it was not applied."""

    created: Annotated[list[str], msgspec.Meta(max_length=100)]


@ROUTES.get("/api/notion/writes", allow_head=False)
@signed_in
async def list_writes(request: web.Request, claims: Claims) -> web.StreamResponse:
    """List the writes since ``?since=``; ``created`` is null while it is unknown.

    Writes to the same parent have an equal ``address``. ``content`` holds a hash of each block's
    words: a block without a hash here is not of this write. ``from``: the list has every write
    since this time.
    """
    await request.app[RATE_LIMIT].by_account(claims.user_id, "writes", PER_MINUTE)
    workspace, since = _workspace(request), _since(request)
    rows = Idempotency(request.app[DATABASE])
    since_ms = to_ms(since)
    found = await rows.since(claims.user_id, workspace, since_ms, PAGE_SIZE, first_key(since_ms))
    return answer(writes_body(found, PAGE_SIZE, request.app[CLOCK].now()))


@ROUTES.put("/api/notion/writes/{key}")
@signed_in
async def settle_write(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Store the outcome that the caller has found out about its own write."""
    await request.app[RATE_LIMIT].by_account(claims.user_id, "writes", PER_MINUTE)
    key_id = KeyId(claims.user_id, _workspace(request), _key(request))
    body = await read_body(request, SettledWrite)
    created = [found for each in body.created if (found := parse_uuid(each))]
    if len(created) != len(body.created):
        raise InvalidInput(
            "created holds something else than ids. Send the ids of blocks or of a page."
        )
    now = to_ms(request.app[CLOCK].now())
    await Idempotency(request.app[DATABASE]).settle(key_id, created, now)
    return web.Response(status=204)


def writes_body(writes: Sequence[Write], most: int, now: float) -> dict[str, object]:
    """Render at most ``most`` writes, the newest, as of ``now`` (epoch seconds)."""
    is_cut = len(writes) == most
    whole_ms = writes[-1].send_by if is_cut else to_ms(now) - REMEMBERED_MS
    return {
        "writes": [_write_body(each) for each in writes],
        "more": is_cut,
        "from": rfc3339(whole_ms / 1000),
    }


def _write_body(write: Write) -> dict[str, object]:
    address, content = likeness(write.fingerprint)
    return {
        "key": write.key,
        "address": address,
        "content": content,
        "created": write.created,
    }


def _workspace(request: web.Request) -> str:
    found = parse_uuid(request.headers.get("X-Workspace-Id", ""))
    if found is None:
        raise InvalidInput("X-Workspace-Id is missing or not a UUID. Send the id of the workspace.")
    return found


def _since(request: web.Request) -> float:
    try:
        return from_rfc3339(request.query.get("since", ""))
    except (ValueError, OverflowError):
        raise InvalidInput("since is not a time. Send one such as 2026-11-22T10:00:00Z.") from None


def _key(request: web.Request) -> str:
    try:
        return parse_key(request.match_info["key"])
    except ProxyError as refusal:
        raise InvalidInput(
            "The path does not end in an idempotency key (a UUID of version 7)."
        ) from refusal
