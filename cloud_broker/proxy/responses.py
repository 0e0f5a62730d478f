"""What the caller gets: Notion's answer with allow-listed headers, or the broker's in its shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cloud_broker.limits.gcra import Bucket, Rule, Window
from cloud_broker.limits.limiter import Quota
from cloud_broker.proxy.bodies import encode
from cloud_broker.proxy.errors import ProxyError
from cloud_broker.proxy.routes import Route, parse_uuid
from cloud_broker.transport import Response

# Rebuilt, never copied through: no cookie, no hop-by-hop header, no content-encoding.
_PASSED = ("Retry-After", "x-notion-request-id")
_JSON = "application/json; charset=utf-8"
_READS = {
    "data_source_id": "POST /v1/data_sources/{}/query",
    "database_id": "POST /v1/databases/{}/query",
    "page_id": "GET /v1/blocks/{}/children",
}


class ProxyResponse(Struct, frozen=True):
    """Status, headers and JSON body for the caller."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, value: Any) -> ProxyResponse:
        """Render ``value`` as JSON."""
        return cls(status, encode(value), _base())

    def plus(self, headers: Mapping[str, str]) -> ProxyResponse:
        """Return the same answer with more headers."""
        return replace(self, headers={**self.headers, **headers})


def from_notion(
    response: Response,
    *,
    status: int | None = None,
    body: Any = None,
    retry_after: bool = True,
) -> ProxyResponse:
    """Pass Notion's answer on; ``status`` and ``body`` (a value) replace its own."""
    headers = {name: response.headers[name] for name in _PASSED if name in response.headers}
    if not retry_after:
        headers.pop("Retry-After", None)
    return ProxyResponse(
        status or response.status,
        response.body if body is None else encode(body),
        {**_base(), **headers},
    )


def from_refusal(refusal: ProxyError, request_id: str) -> ProxyResponse:
    """Render a refusal of the broker's own as Notion would."""
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


def whole_seconds(seconds: float) -> int:
    """Seconds as Retry-After may say them: rounded up, never 0."""
    return max(1, math.ceil(seconds))


def limit_headers(quotas: Sequence[Quota]) -> dict[str, str]:
    """Render draft-ietf-httpapi-ratelimit-headers: the policies and what is left of each."""
    if not quotas:
        return {}
    policies = [_policy(quota.name, quota.rule) for quota in quotas]
    states = [f'"{quota.name}";r={quota.left};t={math.ceil(quota.reset_s)}' for quota in quotas]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}


def receipt(
    route: Route, ids: Sequence[str], created: Sequence[str], body: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Rebuild the answer to a write from the ids alone, as a replay or a committed 503 needs it."""
    if route.creates == "children":
        return {
            "object": "list",
            "type": "block",
            "block": {},
            "results": [{"object": "block", "id": child} for child in created],
            "next_cursor": None,
            "has_more": False,
        }
    subject = (list(created) or list(ids) or [""])[0]
    kind = {"pages": "page", "file_uploads": "file_upload"}.get(route.words[0], "block")
    found: dict[str, Any] = {"object": kind, "id": subject}
    if route.method == "DELETE":
        found["in_trash"] = True
    elif body and isinstance(body.get("in_trash"), bool):
        found["in_trash"] = body["in_trash"]
    return found


def where_to_look(route: Route, ids: Sequence[str], body: Mapping[str, Any] | None) -> str | None:
    """Name the read that shows whether a write was applied; None where none does."""
    if route.creates == "file_upload":
        return None  # one more is harmless: what is not attached is gone in an hour
    if route.creates == "page":
        return _rows_of((body or {}).get("parent"))
    path = route.path(ids[:1]).removesuffix("/send").removesuffix("/complete")
    return f"GET {path}"


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
