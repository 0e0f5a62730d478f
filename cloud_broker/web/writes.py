"""``/api/notion/writes``: which blocks and pages an account's writes have created, by their keys.

A program that looks for a write whose outcome it does not know must not take for its own what
another of the account's programs has written, for all of them write as the same bot.
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

ASKED = 120  # a minute and account, both routes together
MOST = 2_000  # writes told at once: an account's limit for an hour and a half
ROUTES = web.RouteTableDef()


class Settled(msgspec.Struct, forbid_unknown_fields=True):
    """What was found of a write, in order; nothing when it was not applied."""

    created: Annotated[list[str], msgspec.Meta(max_length=100)]


@ROUTES.get("/api/notion/writes", allow_head=False)
@signed_in
async def written(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Tell the writes since ``?since=``; ``created`` null: not known, or still under way.

    Equal ``address`` tells that two writes went to the same parent. ``content`` has a hash for
    the words of each block: what is not in it, the write cannot have made.
    ``from`` is the time since which none is missing.
    """
    await request.app[RATE_LIMIT].by_account(claims.user_id, "writes", ASKED)
    workspace, since = _workspace(request), _since(request)
    rows = Idempotency(request.app[DATABASE])
    since_ms = to_ms(since)
    found = await rows.since(claims.user_id, workspace, since_ms, MOST, first_key(since_ms))
    return answer(told(found, MOST, request.app[CLOCK].now()))


@ROUTES.put("/api/notion/writes/{key}")
@signed_in
async def settled(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Take in what the caller has found out about its own write."""
    await request.app[RATE_LIMIT].by_account(claims.user_id, "writes", ASKED)
    who = KeyId(claims.user_id, _workspace(request), _key(request))
    body = await read_body(request, Settled)
    created = [found for each in body.created if (found := parse_uuid(each))]
    if len(created) != len(body.created):
        raise InvalidInput("created holds the ids of blocks or of a page.")
    now = to_ms(request.app[CLOCK].now())
    await Idempotency(request.app[DATABASE]).settle(who, created, now)
    return web.Response(status=204)


def told(writes: Sequence[Write], most: int, now: float) -> dict[str, object]:
    """The newest ``most`` writes, or all that are remembered ``now`` (epoch seconds)."""
    is_cut = len(writes) == most
    whole_ms = writes[-1].send_by if is_cut else to_ms(now) - REMEMBERED_MS
    return {
        "writes": [_told(each) for each in writes],
        "more": is_cut,
        "from": rfc3339(whole_ms / 1000),
    }


def _told(write: Write) -> dict[str, object]:
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
        raise InvalidInput("X-Workspace-Id names the workspace.")
    return found


def _since(request: web.Request) -> float:
    try:
        return from_rfc3339(request.query.get("since", ""))
    except (ValueError, OverflowError):
        raise InvalidInput("since is a time such as 2026-11-22T10:00:00Z.") from None


def _key(request: web.Request) -> str:
    try:
        return parse_key(request.match_info["key"])
    except ProxyError as refusal:
        raise InvalidInput("That is not an idempotency key.") from refusal
