"""Builds the client's response: Notion's, with allow-listed headers, or the broker's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cloud_broker.limits.gcra import Bucket, Rule, Window
from cloud_broker.limits.limiter import Quota
from cloud_broker.proxy.bodies import encode
from cloud_broker.proxy.call import Call
from cloud_broker.proxy.errors import NotSent, ProxyError, UpstreamGarbled, UpstreamSilent
from cloud_broker.proxy.outcome import Outcome, Verdict
from cloud_broker.proxy.routes import parse_uuid
from cloud_broker.transport import ConnectFailed, Response

# Copied by name only: no cookie, hop-by-hop header or content-encoding reaches the client.
_PASSED = ("Retry-After", "x-notion-request-id")
_JSON = "application/json; charset=utf-8"
_READS = {
    "data_source_id": "POST /v1/data_sources/{}/query",
    "database_id": "POST /v1/databases/{}/query",
    "page_id": "GET /v1/blocks/{}/children",
}
_ERROR_CODES = {403: "restricted_resource", 404: "object_not_found", 429: "rate_limited"}


class ProxyResponse(Struct, frozen=True):
    """Status, headers and JSON body for the client."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, value: Any) -> ProxyResponse:
        """Render ``value`` as JSON."""
        return cls(status, encode(value), _base())

    def plus(self, headers: Mapping[str, str]) -> ProxyResponse:
        """Return the same response with more headers."""
        return replace(self, headers={**self.headers, **headers})


def of_read(call: Call, outcome: Outcome) -> ProxyResponse:
    """Render the outcome of a read. Raises a ProxyError when Notion gave no usable answer."""
    if outcome.verdict is Verdict.GARBLED:
        raise UpstreamGarbled
    if outcome.verdict is not Verdict.DONE or outcome.response is None:
        return _passed_on(call, outcome)
    if call.version == call.pinned:
        return _from_notion(outcome.response)
    value = decoded(outcome) if outcome.value is None else outcome.value
    return _from_notion(outcome.response, body=call.to_client(value))


def of_write(call: Call, outcome: Outcome) -> ProxyResponse:
    """Render the outcome of a write. Raises a ProxyError when Notion gave no usable answer."""
    if outcome.verdict is Verdict.DONE and outcome.receipt_only and outcome.response:
        body = call.to_client(_receipt(call, outcome.created))
        response = _from_notion(outcome.response, body=body)
        headers = {name: text for name, text in response.headers.items() if name != "Retry-After"}
        return replace(response, status=200, headers=headers)
    return _passed_on(call, outcome)


def of_replay(call: Call, created: Sequence[str]) -> ProxyResponse:
    """Render a stored success from the ids that it created."""
    response = ProxyResponse.of(200, call.to_client(_receipt(call, created)))
    return response.plus({"Idempotency-Replayed": "true"})


def from_refusal(refusal: ProxyError, request_id: str) -> ProxyResponse:
    """Render a refusal of the broker's own in the shape of Notion's errors."""
    headers = {**_base(), **refusal.headers, "X-Broker-Code": refusal.broker_code}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(whole_seconds(refusal.retry_after_s))
    body = {
        "object": "error",
        "status": refusal.status,
        "code": refusal.code,
        "message": refusal.text,
        "request_id": request_id,
        "additional_data": {"broker_code": refusal.broker_code, **refusal.data},
    }
    return ProxyResponse(refusal.status, encode(body), headers)


def decoded(outcome: Outcome) -> Any:
    """Return the object of a successful read. Raises UpstreamGarbled."""
    assert outcome.response is not None
    try:
        return msgspec.json.decode(outcome.response.body)
    except msgspec.DecodeError:  # a number out of range: well-formed JSON, but unusable here
        raise UpstreamGarbled from None


def read_to_verify(call: Call) -> str | None:
    """Name the read that shows whether a write was applied, or None when there is none."""
    if call.route.creates == "file_upload":
        return None  # a duplicate is harmless: Notion deletes unattached uploads after an hour
    if call.route.creates == "page":
        return _rows_of((call.body or {}).get("parent"))
    path = call.route.path(call.ids[:1]).removesuffix("/send").removesuffix("/complete")
    return f"GET {path}"


def whole_seconds(seconds: float) -> int:
    """Return the value of Retry-After: rounded up, never 0."""
    return max(1, math.ceil(seconds))


def limit_headers(quotas: Sequence[Quota]) -> dict[str, str]:
    """Render the policies and their remaining quotas (draft-ietf-httpapi-ratelimit-headers)."""
    if not quotas:
        return {}
    policies = [_policy(quota.name, quota.rule) for quota in quotas]
    states = [f'"{quota.name}";r={quota.left};t={math.ceil(quota.reset_s)}' for quota in quotas]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}


def _passed_on(call: Call, outcome: Outcome) -> ProxyResponse:
    response = outcome.response
    if response is None:
        if isinstance(outcome.result, ConnectFailed):
            raise NotSent
        raise UpstreamSilent
    if outcome.value is None:
        if response.status >= 500 and response.status != NotSent.status:
            raise UpstreamGarbled
        return _from_notion(response, body=_error(response.status, call.request_id))
    if call.version == call.pinned:
        return _from_notion(response)
    return _from_notion(response, body=call.to_client(outcome.value))


def _from_notion(response: Response, *, body: Any = None) -> ProxyResponse:
    """Pass Notion's answer on; ``body`` (a value) replaces its own."""
    headers = {name: response.headers[name] for name in _PASSED if name in response.headers}
    raw = response.body if body is None else encode(body)
    return ProxyResponse(response.status, raw, {**_base(), **headers})


def _error(status: int, request_id: str) -> dict[str, Any]:
    """Return an error in Notion's shape for one that was not JSON (a gateway's page)."""
    fallback = "service_overload" if status == NotSent.status else "invalid_request"
    return {
        "object": "error",
        "status": status,
        "code": _ERROR_CODES.get(status, fallback),
        "message": f"The request was refused on its way to Notion (status {status}).",
        "request_id": request_id,
    }


def _receipt(call: Call, created: Sequence[str]) -> dict[str, Any]:
    """Rebuild the answer to a write from the ids alone: for a replay or a committed 503."""
    if call.route.creates == "children":
        return {
            "object": "list",
            "type": "block",
            "block": {},
            "results": [{"object": "block", "id": child} for child in created],
            "next_cursor": None,
            "has_more": False,
        }
    subject = (list(created) or list(call.ids) or [""])[0]
    kind = {"pages": "page", "file_uploads": "file_upload"}.get(call.route.words[0], "block")
    found: dict[str, Any] = {"object": kind, "id": subject}
    if call.route.method == "DELETE":
        found["in_trash"] = True
    elif call.body and isinstance(call.body.get("in_trash"), bool):
        found["in_trash"] = call.body["in_trash"]
    return found


def _rows_of(parent: Any) -> str | None:
    given = parent if isinstance(parent, Mapping) else {}
    for key, read in _READS.items():
        found = parse_uuid(given[key]) if isinstance(given.get(key), str) else None
        if found is not None:
            return read.format(found)
    return None


def _base() -> dict[str, str]:
    return {"Content-Type": _JSON, "Cache-Control": "no-store, private"}


@lru_cache(maxsize=256)
def _policy(name: str, rule: Rule) -> str:
    match rule:
        case Window(limit=limit, span_s=span):
            return f'"{name}";q={limit};w={math.ceil(span)}'
        case Bucket(rate=rate, burst=burst):
            return f'"{name}";q={burst};w={math.ceil(burst / rate)}'
