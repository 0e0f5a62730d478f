"""Sends requests to the broker, and tracks its clock and its reachability."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Mapping
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from yarl import URL

from clipperd import __version__
from clipperd.broker.connectivity import Connectivity
from clipperd.broker.http import Answer, Http, Incoming
from clipperd.clock import Clock
from clipperd.errors import BrokerNotConfigured, BrokerUnreachable, InvalidInput
from clipperd.storage.text import decode_json

TOTAL_S = 35.0  # the broker answers within 30 s, even if Notion does not

SEGMENT = "[A-Za-z0-9_-]"
"""A character of a path segment: without dots and escapes no path can leave its prefix."""
_PATH = re.compile(rf"\A{SEGMENT}+(?:/{SEGMENT}+)*\Z", re.ASCII)


class BrokerClient:
    """Sends every request to the broker, so that its results update the connectivity."""

    def __init__(
        self, base: URL | None, http: Http, connectivity: Connectivity, clock: Clock
    ) -> None:
        """``base``: the broker's URL, without a trailing slash; None when none is configured."""
        self.base = base
        self.connectivity = connectivity
        self._http = http
        self._clock = clock
        self._server_offset: float | None = None  # the server's epoch seconds minus our boot clock

    @property
    def host(self) -> str | None:
        """The broker's host; None when none is configured."""
        return None if self.base is None else self.base.host

    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
        total_s: float = TOTAL_S,
    ) -> Answer:
        """Send one request to ``path`` (no leading slash) below the base.

        Raises InvalidInput for an unsafe path, BrokerNotConfigured, BrokerUnreachable. A redirect
        counts as unreachable: the broker sends none, so a proxy in between answered.
        """
        if not _PATH.match(path):
            raise InvalidInput("That is not a path of Notion's API.")
        url = self._url(path)
        full = {"Accept": "application/json", "User-Agent": f"clipperd/{__version__}"}
        full.update(headers or {})
        if body is not None:
            full.setdefault("Content-Type", "application/json")
        try:
            answer = await self._http.request(
                method,
                url.with_query(query) if query else url,
                headers=full,
                body=body,
                total_s=total_s,
            )
            if 300 <= answer.status < 400:
                raise BrokerUnreachable("Something other than the service answered.", sent=True)
        except BrokerUnreachable as error:
            self.connectivity.failed(sent=error.sent, sentence=error.detail)
            raise
        date = server_date(answer)
        if date is not None:
            self._server_offset = date + 0.5 - self._clock.boot()  # Date has whole seconds
        self.connectivity.answered(answer.status)
        return answer

    def server_now(self) -> float:
        """Return the broker's time in epoch seconds, to about a second; ours until it answers."""
        if self._server_offset is None:
            return self._clock.now()
        return self._clock.boot() + self._server_offset

    def stream(
        self, path: str, *, headers: Mapping[str, str], idle_s: float
    ) -> AbstractAsyncContextManager[Incoming]:
        """GET a stream below the base; it does not update the connectivity.

        Raises BrokerUnreachable, also while the stream is read.
        """
        url = self._url(path)
        full = {"Accept": "text/event-stream", "User-Agent": f"clipperd/{__version__}", **headers}
        return self._http.stream(url, headers=full, idle_s=idle_s)

    def _url(self, path: str) -> URL:
        if self.base is None:
            raise BrokerNotConfigured
        return URL(f"{self.base}/{path}", encoded=True)

    def retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds of Retry-After (seconds or a date) in ``headers``, or None."""
        text = headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
            return float(text)
        at = _http_date(text)
        now = _http_date(headers.get("date", "")) or self.server_now()
        return None if at is None else max(0.0, at - now)

    async def drop_connections(self) -> None:
        """Close the pooled connections, for example after sleep; requests then open new ones."""
        await self._http.drop_connections()


def server_date(answer: Answer) -> float | None:
    """Return the answer's Date in epoch seconds, or None."""
    return _http_date(answer.headers.get("date", ""))


def decoded(answer: Answer) -> Any:
    """Return the answer's body as JSON, or None when it is empty or not JSON.

    Half a surrogate pair, which users can paste into Notion, becomes U+FFFD.
    """
    try:
        return decode_json(answer.body, Any)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def problem_code(answer: Answer) -> str | None:
    """Return the code of an error that the broker itself made; None for any other answer.

    Gateways, firewalls and captive portals answer in its place with any status and with JSON of
    their own. The broker sends ``application/problem+json`` with a ``code``.
    """
    if not is_problem(answer.headers):
        return None
    body = decoded(answer)
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, str) else None


def is_problem(headers: Mapping[str, str]) -> bool:
    """Return whether these are the headers of an error that the broker itself made."""
    return headers.get("content-type", "").partition(";")[0].strip() == "application/problem+json"


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
