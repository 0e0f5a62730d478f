"""The broker as an address: URLs from constants, one exchange, its clock, its reachability."""

from __future__ import annotations

import ipaddress
import json
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
from clipperd.errors import BrokerUnreachable, InvalidInput

TOTAL_S = 35.0  # the broker answers within 30 s, whatever Notion does

# Notion's ids and words only: no dots, escapes or empty parts that could climb out of the prefix.
_PATH = re.compile(r"\A[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*\Z", re.ASCII)


def broker_url(text: str) -> URL:
    """Read the broker's address. Raises ValueError: plain HTTP is for this machine only."""
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
        raise ValueError("The broker's address looks like https://broker.example")
    if url.query_string or url.fragment:
        raise ValueError("The broker's address has no query and no fragment.")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ValueError("A broker on another machine needs https.")
    return url.with_path(url.path.rstrip("/"))


class BrokerClient:
    """Every exchange with the broker passes here, so every result is seen."""

    def __init__(self, base: URL, http: Http, connectivity: Connectivity, clock: Clock) -> None:
        """``base`` comes from :func:`broker_url`."""
        self.base = base
        self.connectivity = connectivity
        self._http = http
        self._clock = clock
        self._ahead: float | None = None  # the server's epoch seconds minus our boot clock

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
        """Exchange one request at ``path`` (no leading slash) below the base.

        Raises InvalidInput for a path of another form and BrokerUnreachable, also for a redirect:
        the broker sends none, so something in between answered.
        """
        if not _PATH.match(path):
            raise InvalidInput("That path is not one of Notion's.")
        url = URL(f"{self.base}/{path}", encoded=True)
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
                raise BrokerUnreachable(
                    "Something else answered in the service's place.", sent=True
                )
        except BrokerUnreachable as error:
            self.connectivity.failed(sent=error.sent)
            raise
        date = server_date(answer)
        if date is not None:
            self._ahead = date + 0.5 - self._clock.boot()  # Date is cut to whole seconds
        self.connectivity.heard(answer.status)
        return answer

    def server_now(self) -> float:
        """The server's time in epoch seconds, to about a second; ours until it has answered."""
        if self._ahead is None:
            return self._clock.now()
        return self._clock.boot() + self._ahead

    def stream(
        self, path: str, *, headers: Mapping[str, str], idle_s: float
    ) -> AbstractAsyncContextManager[Incoming]:
        """GET a stream below the base. It says nothing about reachability: requests do.

        Raises BrokerUnreachable, then and while it is read.
        """
        url = URL(f"{self.base}/{path}", encoded=True)
        full = {"Accept": "text/event-stream", "User-Agent": f"clipperd/{__version__}", **headers}
        return self._http.stream(url, headers=full, idle_s=idle_s)

    def retry_after(self, answer: Answer) -> float | None:
        """Seconds to wait by the answer's Retry-After, given in seconds or as a date."""
        return self.pause_of(answer.headers)

    def pause_of(self, headers: Mapping[str, str]) -> float | None:
        """Seconds to wait by Retry-After among ``headers`` (lower-case names)."""
        text = headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
            return float(text)
        at = _http_date(text)
        now = _http_date(headers.get("date", "")) or self.server_now()
        return None if at is None else max(0.0, at - now)

    async def drop_connections(self) -> None:
        """Close the pooled sockets, for example after sleep: the next request opens new ones."""
        await self._http.drop_connections()


def server_date(answer: Answer) -> float | None:
    """The answer's Date in epoch seconds, or None."""
    return _http_date(answer.headers.get("date", ""))


def decoded(answer: Answer) -> Any:
    """The answer's body as JSON, or None when it is empty or something else.

    Half a surrogate pair, which people can paste into Notion, becomes a question mark: it is no
    text that could be stored or sent on.
    """
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        loose = json.dumps(json.loads(answer.body), ensure_ascii=False)
        return msgspec.json.decode(loose.encode("utf-8", "replace"))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
