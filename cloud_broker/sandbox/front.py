"""Handles every request under ``/v1``: counts it, injects faults, checks it, and applies it.

The order of checks was measured without a token: URL and method, JSON, authorization, version, body
(with the codes of https://developers.notion.com/reference/status-codes).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from cloud_broker.sandbox import misbehave
from cloud_broker.sandbox.api import blocks, databases, oauth, pages, search, uploads
from cloud_broker.sandbox.api.call import Answer, Call, Endpoint, require
from cloud_broker.sandbox.background import Background
from cloud_broker.sandbox.budgets import Budget
from cloud_broker.sandbox.calls import Calls, Record
from cloud_broker.sandbox.clock import http_date
from cloud_broker.sandbox.errors import NotionError, plain, rate_limited, validation
from cloud_broker.sandbox.faults import Effects, Faults, Rule
from cloud_broker.sandbox.grants import current
from cloud_broker.sandbox.model import Token
from cloud_broker.sandbox.render import VERSIONS
from cloud_broker.sandbox.shapes.checks import UNDEFINED, quote
from cloud_broker.sandbox.world import World

ENDPOINTS: tuple[Endpoint, ...] = (
    *blocks.ENDPOINTS,
    *pages.ENDPOINTS,
    *databases.ENDPOINTS,
    *search.ENDPOINTS,
    *oauth.ENDPOINTS,
    *uploads.ENDPOINTS,
)
MOST_BODY_BYTES = 500_000  # https://developers.notion.com/reference/request-limits
JSON_TYPE = "application/json; charset=utf-8"
UNKNOWN_ROUTE = "unknown"
INVALID_URL = "Invalid request URL."
# Values of ``rate_limit_reason`` (https://developers.notion.com/reference/request-limits).
REQUESTS, SPACE_REQUESTS = "public_api_request_rate_limit", "public_api_space_request_rate_limit"
BEARER = 'Authorization header must use the format "Bearer <token>".'


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that has been read, so that it can be applied later."""

    endpoint: Endpoint
    ids: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    base_url: str
    search_lag_s: float
    form: Mapping[str, bytes] = field(default_factory=dict)


class Front:
    """Answers every request under /v1 except the authorize page."""

    def __init__(
        self, world: World, calls: Calls, oauth_calls: Calls, faults: Faults, background: Background
    ) -> None:
        """Serve ``world``; OAuth calls have a count of their own."""
        self._world = world
        self._calls = calls
        self._oauth_calls = oauth_calls
        self._faults = faults
        self._background = background
        self._request_ids = random.Random(f"requests {world.seed}")  # noqa: S311 (not secret)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, with the faults of the active rules."""
        endpoint, ids = find(request.method, request.path)
        route = UNKNOWN_ROUTE if endpoint is None else endpoint.label
        record = self._open(request, endpoint, route)
        if endpoint is None:
            return self._refuse(record, NotionError(400, "invalid_request_url", INVALID_URL))
        effects = self._faults.choose(route, request.path)
        record.fault = ",".join(effects.names) or None
        if effects.latency_s > 0:
            await self._world.clock.sleep(effects.latency_s)
        for removed in effects.held_until:
            await removed.wait()
        try:
            received = await self._read(request, endpoint, ids, effects)
        except NotionError as error:
            return self._refuse(record, error)
        if effects.rule is not None:
            return await self._spoil(request, record, received, effects.rule)
        return self._respond(record, self._apply(received, record))

    def _open(self, request: web.Request, endpoint: Endpoint | None, route: str) -> Record:
        request_id = str(UUID(int=self._request_ids.getrandbits(128), version=4))
        calls = (
            self._oauth_calls if endpoint is not None and endpoint.auth == "basic" else self._calls
        )
        now = self._world.clock.now()
        record = calls.open(now, request.method, route, request.path, request_id)
        token = self._world.tokens.get(request.headers.get("Authorization", "")[7:])
        # Enough to distinguish connections in a test; never the token itself.
        record.token_hint = None if token is None else f"bot {token.bot_id[:8]}"
        return record

    async def _read(
        self, request: web.Request, endpoint: Endpoint, ids: Mapping[str, str], effects: Effects
    ) -> ReceivedRequest:
        form: dict[str, bytes] = {}
        raw = b""
        if endpoint.form:
            form = await _read_form(request)
        else:
            try:
                raw = await request.read()
            except web.HTTPRequestEntityTooLarge as error:
                raise too_large("more") from error
            if len(raw) > MOST_BODY_BYTES:
                raise too_large(str(len(raw)))
        base_url = f"{request.scheme}://{request.host}"
        headers = {name.lower(): value for name, value in request.headers.items()}
        return ReceivedRequest(
            endpoint, ids, dict(request.query), headers, raw, base_url, effects.search_lag_s, form
        )

    def _apply(self, received: ReceivedRequest, record: Record) -> Answer | NotionError:
        """Check and apply the request in one step, without other changes in between."""
        try:
            call = self._check(received)
            answer = received.endpoint.act(call)
        except NotionError as error:
            return error
        record.applied = True
        if received.endpoint.label == "PATCH /v1/blocks/{id}/children":
            record.blocks = len(answer.created)
        return answer

    def _check(self, received: ReceivedRequest) -> Call:
        body: Any = UNDEFINED
        if received.raw:
            try:
                body = msgspec.json.decode(received.raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise NotionError(400, "invalid_json", "Error parsing JSON body.") from None
        if received.endpoint.auth == "basic":
            client_id = oauth.check_client(self._world, received.headers.get("authorization", ""))
            token, version = _token_of_client(client_id), VERSIONS[-1]
        else:
            token = self._authorize(received.headers.get("authorization", ""))
            version = _read_version(received.headers.get("notion-version"))
            require(token, received.endpoint.needs)
        return Call(
            self._world,
            token,
            version,
            received.ids,
            received.query,
            body,
            received.base_url,
            received.search_lag_s,
            received.form,
        )

    def _authorize(self, header: str) -> Token:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret or " " in secret:
            raise plain(401, message=BEARER)
        token = current(self._world, secret)
        if token is None:
            raise plain(401)
        self._meter(token)
        return token

    def _meter(self, token: Token) -> None:
        """Refuse the call when a budget is spent; else count it in all budgets."""
        config, budgets = self._world.config, self._world.budgets
        now = self._world.clock.now()
        limits = (
            (f"token {token.access}", config.rate_per_token, REQUESTS),
            (f"app {token.client_id}", config.rate_per_integration, REQUESTS),
            (f"space {token.workspace_id}", config.rate_per_workspace, SPACE_REQUESTS),
        )
        drawn = [
            (key, Budget(limit, config.window_s, config.burst), reason)
            for key, limit, reason in limits
            if limit is not None
        ]
        for key, budget, reason in drawn:
            if wait_s := budgets.wait_s(key, budget, now):
                raise rate_limited(wait_s, reason)
        for key, budget, _ in drawn:
            budgets.spend(key, budget, now)

    async def _spoil(
        self, request: web.Request, record: Record, received: ReceivedRequest, rule: Rule
    ) -> web.StreamResponse:
        if rule.kind == "late":
            self._background.later(rule.params["ms"] / 1000, lambda: self._apply(received, record))
            if rule.params["answer"] == "504":
                return self._refuse(record, plain(504))
            return misbehave.drop(request)
        outcome = self._apply(received, record) if rule.applied else None
        if rule.kind in ("drop_before", "drop_after"):
            return misbehave.drop(request)
        if isinstance(outcome, NotionError):
            # A refused write was not saved, so its response stays intact.
            return self._respond(record, outcome)
        if rule.kind == "html_502":
            record.status = 502
            return misbehave.html_502(f"{record.number:016x}-FRA")
        error = misbehave.refusal(rule, outcome, self._world.clock.now())
        if error is not None:
            return self._refuse(record, error)
        assert outcome is not None
        record.status = outcome.status
        body = msgspec.json.encode({**outcome.body, "request_id": record.request_id})
        return await misbehave.spoil(request, rule, outcome.status, body, self._headers(record))

    def _respond(self, record: Record, outcome: Answer | NotionError) -> web.Response:
        if isinstance(outcome, NotionError):
            return self._refuse(record, outcome)
        record.status = outcome.status
        body = msgspec.json.encode({**outcome.body, "request_id": record.request_id})
        return web.Response(body=body, status=outcome.status, headers=self._headers(record))

    def _refuse(self, record: Record, error: NotionError) -> web.Response:
        record.status = error.status
        return web.Response(
            body=msgspec.json.encode(error.body(record.request_id)),
            status=error.status,
            headers={**self._headers(record), **error.headers},
        )

    def _headers(self, record: Record) -> dict[str, str]:
        return {
            "Content-Type": JSON_TYPE,
            "x-notion-request-id": record.request_id,
            "Date": http_date(self._world.clock.now()),
        }


_BY_LENGTH: dict[tuple[str, int], list[tuple[tuple[str, ...], Endpoint]]] = {}
for _endpoint in ENDPOINTS:
    _parts = tuple(_endpoint.template.split("/"))
    _BY_LENGTH.setdefault((_endpoint.method, len(_parts)), []).append((_parts, _endpoint))


def find(method: str, path: str) -> tuple[Endpoint | None, dict[str, str]]:
    """Find the endpoint of ``/v1/…`` and its path parameters; literal segments first."""
    parts = path.removeprefix("/v1/").split("/")
    for template, endpoint in _BY_LENGTH.get((method, len(parts)), ()):
        ids: dict[str, str] = {}
        for want, got in zip(template, parts, strict=True):
            if want.startswith("{") and got:
                ids[want[1:-1]] = got
            elif want != got:
                break
        else:
            return endpoint, ids
    return None, {}


def _token_of_client(client_id: str) -> Token:
    """Return a placeholder: OAuth calls belong to an integration, not to a connection."""
    return Token("", None, "", "", "", client_id, 0.0, frozenset())


def too_large(size: str) -> NotionError:
    """Return the error for a body above Notion's limit."""
    return validation(
        f"body failed validation: body.length should be ≤ `{MOST_BODY_BYTES}`, "
        f"instead was `{size}`."
    )


def _read_version(header: str | None) -> str:
    name = "Notion-Version header"
    if header is None:
        raise NotionError(
            400,
            "missing_version",
            f"{name} failed validation: {name} should be defined, instead was `undefined`.",
        )
    if header not in VERSIONS:
        known = " or ".join(f'`"{version}"`' for version in VERSIONS)
        raise validation(
            f"{name} failed validation: {name} should be {known}, instead was `{quote(header)}`."
        )
    return header


async def _read_form(request: web.Request) -> dict[str, bytes]:
    try:
        fields = await request.post()
    except (ValueError, AssertionError) as error:
        raise validation("body failed validation: body should be a multipart form.") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise validation("The part is larger than 20 MiB.") from error
    form: dict[str, bytes] = {}
    for name, value in fields.items():
        form[name] = value.file.read() if isinstance(value, web.FileField) else str(value).encode()
    return form
