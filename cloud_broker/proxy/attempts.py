"""Sends a request to Notion and retries it within its deadline.

One attempt: pass admission, send, judge the answer, report it. A write with a key needs a fence,
which is checked before each attempt and again when the connection is open, before the first byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from cloud_broker.clock import Clock
from cloud_broker.errors import BrokerError, ReauthRequired
from cloud_broker.identity.connections import OpenToken, Tokens
from cloud_broker.limits.limiter import Quota
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy.admission import MAX_WAIT_S, Admission, Admitted, Charge, Party
from cloud_broker.proxy.call import Upload
from cloud_broker.proxy.errors import LimitReached, NotionTokenInvalid, NotSent
from cloud_broker.proxy.outcome import Outcome, Verdict, judge
from cloud_broker.proxy.routes import Query, Route
from cloud_broker.secret import Secret
from cloud_broker.transport import Response, Transport, TransportError

MAX_RETRIES = 3  # seed section 7.1
BACKOFF_S = 0.5  # seconds: ceiling of the first wait, doubled for each further one
BACKOFF_CAP_S = 8.0  # seconds: ceiling of any wait
REFRESH_AGAIN_S = 5.0  # seconds: Retry-After while the token cannot be refreshed
AGENT = "clipperd-broker"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Notion's address and version. ``origin`` is scheme, host and port only."""

    origin: URL
    version: str
    max_bytes: int = 5 * 1024 * 1024

    def url(self, path: str, query: Query) -> URL:
        """Build an address from the row's path and checked pairs, without decoding them again."""
        return URL.build(
            scheme=self.origin.scheme,
            host=self.origin.host or "",
            port=self.origin.explicit_port,
            path=path,
            query_string=urlencode(query),
            encoded=True,
        )

    def headers(
        self, token: Secret, content_type: str | None, length: int | None
    ) -> dict[str, str]:
        """Build the headers from scratch: none of the client's reaches Notion.

        ``length`` is that of a streamed body; without it the body is sent in chunks.
        """
        headers = {
            "Authorization": f"Bearer {token.reveal()}",
            "Notion-Version": self.version,
            "User-Agent": AGENT,
            "Accept": "application/json",
        }
        if content_type:
            headers["Content-Type"] = content_type
        if length is not None:
            headers["Content-Length"] = str(length)
        return headers


Fence = Callable[[], Awaitable[Callable[[], None]]]


class Job(Struct):
    """One request to Notion, with the state of its attempts.

    ``until``: no attempt starts after it (monotonic clock). ``answer_s``: seconds to wait for an
    answer; None: until ``until``. ``fence``: awaited before each attempt of a write, returns the
    last check before the first byte; both may raise. ``refreshes``: token refreshes left.
    """

    route: Route
    ids: tuple[str, ...]
    query: Query
    body: bytes | Upload | None
    content_type: str | None
    length: int | None
    party: Party
    token: OpenToken
    until: float
    children: int = 0
    answer_s: float | None = None
    fence: Fence | None = None
    charge: Charge = Charge.USER
    attempts: int = 0
    refreshes: int = 1
    sent_at: float | None = None  # wall clock, the last attempt
    quotas: tuple[Quota, ...] = ()


class Attempts:
    """Runs jobs against Notion."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        transport: Transport,
        admission: Admission,
        tokens: Tokens,
        metrics: Metrics,
        clock: Clock,
        rng: Random,
    ) -> None:
        """Send through ``transport`` the requests that ``admission`` admits."""
        self._upstream = upstream
        self._transport = transport
        self._admission = admission
        self._tokens = tokens
        self._metrics = metrics
        self._clock = clock
        self._rng = rng

    async def run(self, job: Job) -> Outcome:
        """Return the last attempt's outcome. AGAIN: not applied, and no time for another attempt.

        Raises a ProxyError (nothing applied) when the job may not be sent, or the fence's error.
        """
        retries, last = 0, None
        while True:
            try:
                last = await self._once(job)
            except LimitReached:
                if last is None:
                    raise
                return last  # no retries left for this connection
            if last.verdict is not Verdict.AGAIN or retries == MAX_RETRIES:
                return last
            wait_s = self._backoff(retries, last)
            if not self._may_wait(job, wait_s):
                return last
            await self._clock.sleep(wait_s)
            retries += 1

    async def _once(self, job: Job) -> Outcome:
        """Make one attempt, and another with a new token each time that Notion refuses the old."""
        outcome = await self._send(job)
        while outcome.verdict is Verdict.REFRESH and job.refreshes:
            job.refreshes -= 1
            job.token = await self._refreshed(job)
            if not _is_replayable(job.body):
                raise NotSent("The broker renewed Notion's token. Send the file again.")
            outcome = await self._send(job)
        if outcome.verdict is Verdict.REFRESH:
            raise NotionTokenInvalid
        return outcome

    async def _refreshed(self, job: Job) -> OpenToken:
        """Refresh the token within the deadline; the lease of a crashed broker delays that."""
        refresh = asyncio.ensure_future(self._tokens.refresh(job.token))
        timer = asyncio.ensure_future(self._clock.sleep(job.until - self._clock.monotonic()))
        try:
            await asyncio.wait({refresh, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not refresh.done():
                raise NotSent(retry_after_s=REFRESH_AGAIN_S)
            return refresh.result()
        except ReauthRequired as error:
            raise NotionTokenInvalid from error
        except BrokerError as error:  # Notion is unavailable, or the new pair cannot be stored
            raise NotSent(retry_after_s=REFRESH_AGAIN_S) from error
        finally:
            refresh.cancel()
            timer.cancel()
            await asyncio.gather(refresh, timer, return_exceptions=True)

    async def _send(self, job: Job) -> Outcome:
        with self._admission.seat(job.party):
            return await self._send_seated(job)

    async def _send_seated(self, job: Job) -> Outcome:
        admitted = await self._admission.enter(job.party, job.route, job.until, job.charge)
        if job.charge is Charge.USER:
            job.quotas = admitted.quotas
        job.charge = Charge.RETRY
        reported = False
        try:
            check = await job.fence() if job.fence else None
            outcome = await self._attempt(job, check)
            await self._admission.report(admitted, outcome)
            reported = True
        finally:
            if not reported:
                await self._admission.forget(admitted)
        self._count(admitted, outcome)
        return outcome

    async def _attempt(self, job: Job, check: Callable[[], None] | None) -> Outcome:
        def before_send() -> None:
            if check is not None:
                check()
            elif job.route.kind == "write" and self._clock.monotonic() >= job.until:
                raise NotSent  # the client already knows the latest time of sending
            job.sent_at = self._clock.now()

        job.attempts += 1
        left = max(0.001, job.until - self._clock.monotonic())
        result: Any
        try:
            result = await self._transport.send(
                job.route.method,
                self._upstream.url(job.route.path(job.ids), job.query),
                self._upstream.headers(job.token.access_token, job.content_type, job.length),
                job.body,
                deadline=job.answer_s or left,
                max_bytes=self._upstream.max_bytes,
                before_send=before_send,
            )
            result = without(result, job.token.access_token)
        except TransportError as error:
            fault = None if isinstance(job.body, (bytes, type(None))) else job.body.fault(error)
            if fault is not None:
                raise fault from None  # Notion is not at fault
            result = error.with_traceback(None)  # its frames hold parts of the answer
        return judge(result, job.route, children=job.children, now=self._clock.now())

    def _backoff(self, retries: int, outcome: Outcome) -> float:
        """Return the wait in seconds: full jitter, never shorter than Notion's Retry-After."""
        jitter = self._rng.uniform(0, min(BACKOFF_CAP_S, BACKOFF_S * 2.0**retries))
        after_s = outcome.retry_after_s
        return jitter if after_s is None else after_s + min(jitter, BACKOFF_S)

    def _may_wait(self, job: Job, wait_s: float) -> bool:
        is_in_time = self._clock.monotonic() + wait_s < job.until
        return _is_replayable(job.body) and wait_s <= MAX_WAIT_S and is_in_time

    def _count(self, admitted: Admitted, outcome: Outcome) -> None:
        status = outcome.status
        shown = f"{status // 100}xx" if status else type(outcome.result).__name__
        shown = str(status) if status in {401, 409, 429, 529} else shown
        self._metrics.upstream.add(admitted.route.name, shown)


def without(response: Response, secret: Secret) -> Response:
    """Remove ``secret`` from an answer: a gateway may echo the request."""
    text, removed = secret.reveal(), "[removed]"
    body = response.body.replace(text.encode(), removed.encode())
    headers = CIMultiDict((k, v.replace(text, removed)) for k, v in response.headers.items())
    return replace(response, headers=CIMultiDictProxy(headers), body=body)


def _is_replayable(body: bytes | Upload | None) -> bool:
    return isinstance(body, (bytes, type(None)))


def facts_of(outcome: Outcome | None) -> Mapping[str, str | int | None]:
    """Return the facts of an outcome that the audit log may hold."""
    if outcome is None:
        return {}
    response = outcome.response
    request_id = response.headers.get("x-notion-request-id") if response else None
    return {
        "verdict": outcome.verdict.value,
        "upstream_status": outcome.status,
        "upstream_request_id": request_id[:64] if request_id else None,
    }
