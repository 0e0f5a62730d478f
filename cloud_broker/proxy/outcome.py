"""Decides after an attempt: pass the answer on, retry, or report an unknown outcome. Pure.

| result                                          | read        | write            |
|-------------------------------------------------|-------------|------------------|
| 2xx, whole and well-formed                      | done        | done             |
| 503 with committed ids                          | (again)     | done             |
| 429, 529                                        | again       | again            |
| never sent                                      | again       | again            |
| 401                                             | refresh     | refresh          |
| other 4xx but 408, 409, 425                     | refused     | refused          |
| 408, 409, 425                                   | refused     | unknown          |
| 500, 502, 503, 504, other 5xx, 3xx              | again/refused | unknown        |
| 2xx broken or too large                         | garbled     | unknown          |
| broke off, timed out                            | again       | unknown          |

RFC 9110 section 9.2.2: a proxy must not retry a write unless it knows that it was not applied.
Committed 503: https://developers.notion.com/reference/request-limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from cloud_broker.proxy.routes import Route, parse_uuid
from cloud_broker.transport import ConnectFailed, Response, ResponseTooLarge, TransportError

MAX_PAUSE_S = 3600.0  # seconds: cap of Notion's Retry-After
DEFAULT_PAUSE_S = 1.0  # seconds after a 429 without Retry-After
BLOCKED_PAUSE_S = 60.0  # seconds after a 429 that blocks the connection

_AGAIN_READ = frozenset({500, 502, 503, 504})
_NOT_APPLIED = frozenset({429, 529})
_AMBIGUOUS = frozenset({408, 409, 425})
# Notion itself sends these after it has stopped working on the request. A gateway sends 502 and 504
# when it stops waiting for Notion.
_FINAL = frozenset({409, 500, 503})


class _Anything(Struct):
    """Any JSON object; its members are not decoded."""


_OBJECT = msgspec.json.Decoder(_Anything)


class Verdict(Enum):
    """The next step after an attempt."""

    DONE = "done"
    REFUSED = "refused"  # Notion refused, nothing was applied: pass the answer on
    AGAIN = "again"  # nothing was applied, another attempt may succeed
    REFRESH = "refresh"  # Notion did not accept the token
    UNKNOWN = "unknown"  # a write that may have been applied
    GARBLED = "garbled"  # a read with an unusable answer


class ThrottleScope(Enum):
    """The scope of a 429."""

    CONNECTION = "connection"
    WORKSPACE = "workspace"
    ENDPOINT = "endpoint"


_SCOPES = {
    "public_api_space_request_rate_limit": ThrottleScope.WORKSPACE,
    "public_api_endpoint_rate_limit": ThrottleScope.ENDPOINT,
}


class Throttle(Struct, frozen=True):
    """A 429: its scope, its pause in seconds, and whether retries are pointless."""

    scope: ThrottleScope
    pause_s: float
    final: bool = False


class Outcome(Struct, frozen=True):
    """One judged attempt. ``created``: new ids. ``receipt_only``: rebuild the body from them.

    ``value``: the answer's object; None for a successful read, whose body is passed on unparsed.
    """

    verdict: Verdict
    result: Response | TransportError
    value: Any = None
    created: tuple[str, ...] = ()
    receipt_only: bool = False
    throttle: Throttle | None = None
    retry_after_s: float | None = None

    @property
    def response(self) -> Response | None:
        """Notion's answer, if it is complete."""
        return self.result if isinstance(self.result, Response) else None

    @property
    def status(self) -> int | None:
        """The status of Notion's answer, if any."""
        if isinstance(self.result, (Response, ResponseTooLarge)):
            return self.result.status
        return None

    @property
    def is_over(self) -> bool:
        """Whether Notion has certainly stopped working on the request.

        After a gateway's page, a timeout or no answer, Notion may still apply it.
        """
        status = self.status
        if status is None or 200 <= status < 300:
            return status is not None
        spoke = isinstance(self.value, dict) and self.value.get("object") == "error"
        return spoke and status in _FINAL

    @property
    def is_failure(self) -> bool:
        """Whether the upstream seems unhealthy: 5xx, 529 or no answer."""
        status = self.status
        return status is None or (status >= 500 and self.verdict is not Verdict.DONE)


def judge(result: Response | TransportError, route: Route, *, children: int, now: float) -> Outcome:
    """Judge one attempt. ``children``: blocks in the request; ``now``: wall clock, for dates."""
    if not isinstance(result, Response):
        return Outcome(_judge_failure(result, route), result)
    status = result.status
    if route.kind == "read" and 200 <= status < 300:
        return Outcome(Verdict.DONE if is_object(result.body) else Verdict.GARBLED, result)
    value = _object(result.body)
    after = retry_after(result.headers.get("Retry-After"), now)
    if 200 <= status < 300:
        return _judge_written(result, value, route, children)
    if status in _NOT_APPLIED:
        throttle = _throttle(value, after) if status == 429 else None
        again = throttle is None or not throttle.final
        verdict = Verdict.AGAIN if again else Verdict.REFUSED
        return Outcome(verdict, result, value, throttle=throttle, retry_after_s=after)
    if status == 401:
        return Outcome(Verdict.REFRESH, result, value)
    if route.kind == "write":
        return _judge_write_error(result, value, route, children)
    verdict = Verdict.AGAIN if status in _AGAIN_READ else Verdict.REFUSED
    if status < 400 or (verdict is Verdict.REFUSED and value is None):
        verdict = Verdict.GARBLED
    return Outcome(verdict, result, value, retry_after_s=after)


def retry_after(text: str | None, now: float) -> float | None:
    """Parse Retry-After, seconds or an HTTP date, as seconds from ``now`` (0 to MAX_PAUSE_S)."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_PAUSE_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max(0.0, moment.timestamp() - now), MAX_PAUSE_S)


def _judge_failure(result: TransportError, route: Route) -> Verdict:
    if isinstance(result, ConnectFailed):
        return Verdict.AGAIN
    if route.kind == "write":
        return Verdict.UNKNOWN
    return Verdict.GARBLED if isinstance(result, ResponseTooLarge) else Verdict.AGAIN


def _judge_written(result: Response, value: Any, route: Route, children: int) -> Outcome:
    created = _created(value, route, children)
    if value is not None and created is not None:
        return Outcome(Verdict.DONE, result, value, created)
    return Outcome(Verdict.UNKNOWN, result, value)


def _judge_write_error(result: Response, value: Any, route: Route, children: int) -> Outcome:
    if result.status == 503:
        committed = _committed(value, route, children)
        if committed is not None:
            return Outcome(Verdict.DONE, result, value, committed, receipt_only=True)
    refused = 400 <= result.status < 500 and result.status not in _AMBIGUOUS
    return Outcome(Verdict.REFUSED if refused else Verdict.UNKNOWN, result, value)


def _created(value: Any, route: Route, children: int) -> tuple[str, ...] | None:
    """Return the new ids of a success; None when expected ids are missing.

    An append may list later siblings after the new blocks, so only the first ``children`` count.
    """
    if route.creates == "none" or not isinstance(value, dict):
        return ()
    if route.creates != "children":
        found = value.get("id")
        return (found,) if isinstance(found, str) and parse_uuid(found) else None
    results = value.get("results")
    if not isinstance(results, list) or len(results) < children:
        return None
    ids = [block.get("id") if isinstance(block, dict) else None for block in results[:children]]
    good = tuple(i for i in ids if isinstance(i, str) and parse_uuid(i))
    return good if len(good) == children else None


def _committed(value: Any, route: Route, children: int) -> tuple[str, ...] | None:
    """Return the ids that a 503 reports as saved; None unless it reports all."""
    data = value.get("additional_data") if isinstance(value, dict) else None
    if not isinstance(data, Mapping):
        return None
    if route.creates == "children":
        ids = data.get("committed_child_ids")
        if not isinstance(ids, list) or len(ids) != children:
            return None
        return tuple(ids) if all(isinstance(i, str) and parse_uuid(i) for i in ids) else None
    found = data.get("committed_resource_id")
    return (found,) if isinstance(found, str) and parse_uuid(found) else None


def _throttle(value: Any, after: float | None) -> Throttle:
    data = value.get("additional_data") if isinstance(value, dict) else None
    reason = data.get("rate_limit_reason") if isinstance(data, Mapping) else None
    if after is None and isinstance(data, Mapping):
        text = data.get("retry_after")
        after = float(text[:9]) if isinstance(text, str) and text.isdigit() else None
    final = reason == "public_api_request_blocked"
    pause = after if after is not None else (BLOCKED_PAUSE_S if final else DEFAULT_PAUSE_S)
    return Throttle(
        _SCOPES.get(str(reason), ThrottleScope.CONNECTION), min(pause, MAX_PAUSE_S), final
    )


def is_object(body: bytes) -> bool:
    """Return whether ``body`` is one well-formed JSON object, without building it."""
    try:
        _OBJECT.decode(body)
        return body.isascii() or bool(body.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _object(body: bytes) -> Any:
    """Return the decoded object, or None if ``body`` is no JSON object."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
