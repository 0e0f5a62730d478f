"""Sends a request to Notion until it is done, refused, unknown, or the deadline does not allow.

One attempt: be admitted, send, judge, report. Most calls need one; for the others tenacity waits
by our clock between attempts. A write gets here only under a fence, which is asked again before
each attempt and once more when the connection stands and no byte was sent.
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
from tenacity import AsyncRetrying, RetryCallState, retry_if_result
from yarl import URL

from cloud_broker.clock import Clock
from cloud_broker.errors import BrokerError, ReauthRequired
from cloud_broker.identity.connections import OpenToken
from cloud_broker.limits.limiter import Quota
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy.admission import MAX_WAIT_S, Admission, Charge, Entered, Party
from cloud_broker.proxy.errors import LimitReached, NotionTokenInvalid, NotSent
from cloud_broker.proxy.outcome import Outcome, Verdict, judge
from cloud_broker.proxy.ports import Tokens, Upload
from cloud_broker.proxy.routes import Route
from cloud_broker.secret import Secret
from cloud_broker.transport import Response, Transport, TransportError

MAX_RETRIES = 3  # seed section 7.1
BACKOFF_S = 0.5
BACKOFF_CAP_S = 8.0
REFRESH_AGAIN_S = 5.0
AGENT = "clipperd-broker"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where Notion is and how it is spoken to. ``origin`` is scheme, host and port only."""

    origin: URL
    version: str
    max_bytes: int = 5 * 1024 * 1024

    def url(self, path: str, query: tuple[tuple[str, str], ...]) -> URL:
        """Build an address from the table's path and checked pairs; nothing is decoded again."""
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
        """Build the headers from nothing: none of the caller's gets through.

        ``length`` is that of a body which goes through as it comes; without it, it is chunked.
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
    """One request on its way: what to send, for whom, until when, and what has been learnt.

    ``until``: no attempt starts after it (steady clock). ``answer_s``: how long an answer is
    awaited; None: no longer than ``until``. ``fence``: awaited before each attempt of a write,
    gives the last check before the first byte; both may raise. ``refreshes``: how often the token
    may yet be renewed.
    """

    route: Route
    ids: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
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
    last: Outcome | None = None
    may_go_on: bool = True  # False: resends are used up, the last outcome stands
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
        """Send through ``transport`` what ``admission`` lets through."""
        self._upstream = upstream
        self._transport = transport
        self._admission = admission
        self._tokens = tokens
        self._metrics = metrics
        self._clock = clock
        self._rng = rng

    async def run(self, job: Job) -> Outcome:
        """Return the last attempt's outcome. AGAIN means: not applied, and no time to go on.

        Raises a Refusal (nothing applied) when the job may not be sent, or what its fence raises.
        """
        outcome = await self._once(job)
        return await self._again(job, outcome) if _wants_again(outcome) else outcome

    async def _again(self, job: Job, first: Outcome) -> Outcome:
        """Go on after a ``first`` attempt that may be repeated."""
        known: list[Outcome] = [first]

        async def attempt() -> Outcome:
            return known.pop() if known else await self._once(job)

        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            wait=self._wait,
            stop=lambda state: self._must_stop(state, job),
            retry=retry_if_result(_wants_again),
            retry_error_callback=_outcome_of,
        )
        outcome: Outcome = await retrying(attempt)
        return outcome

    async def _once(self, job: Job) -> Outcome:
        try:
            outcome = await self._send(job)
        except LimitReached:
            if job.last is None:
                raise
            job.may_go_on = False
            return job.last
        while outcome.verdict is Verdict.REFRESH and job.refreshes:
            job.refreshes -= 1
            job.token = await self._refreshed(job)
            if not isinstance(job.body, (bytes, type(None))):
                raise NotSent("Notion's token was renewed. Send the file again.")
            outcome = await self._send(job)
        if outcome.verdict is Verdict.REFRESH:
            raise NotionTokenInvalid
        job.last = outcome
        return outcome

    async def _refreshed(self, job: Job) -> OpenToken:
        """A newer token, if there is one in time: behind a broker that died it takes its lease."""
        refresh = asyncio.ensure_future(self._tokens.refresh(job.token))
        timer = asyncio.ensure_future(self._clock.sleep(job.until - self._clock.monotonic()))
        try:
            await asyncio.wait({refresh, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not refresh.done():
                raise NotSent(retry_after_s=REFRESH_AGAIN_S)
            return refresh.result()
        except ReauthRequired as error:
            raise NotionTokenInvalid from error
        except BrokerError as error:  # Notion cannot say, or the new pair cannot be kept
            raise NotSent(retry_after_s=REFRESH_AGAIN_S) from error
        finally:
            refresh.cancel()
            timer.cancel()
            await asyncio.gather(refresh, timer, return_exceptions=True)

    async def _send(self, job: Job) -> Outcome:
        with self._admission.seat(job.party):
            return await self._send_seated(job)

    async def _send_seated(self, job: Job) -> Outcome:
        entered = await self._admission.enter(job.party, job.route, job.until, job.charge)
        if job.charge is Charge.USER:
            job.quotas = entered.quotas
        job.charge = Charge.RETRY
        reported = False
        try:
            check = await job.fence() if job.fence else None
            outcome = await self._attempt(job, check)
            await self._admission.report(entered, outcome)
            reported = True
        finally:
            if not reported:
                await self._admission.forget(entered)
        self._count(entered, outcome)
        return outcome

    async def _attempt(self, job: Job, check: Callable[[], None] | None) -> Outcome:
        def before_send() -> None:
            if check is not None:
                check()
            elif job.route.kind == "write" and self._clock.monotonic() >= job.until:
                raise NotSent  # its caller has been told until when it can have been sent
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
                raise fault from None  # it says nothing of Notion
            result = error.with_traceback(None)  # whose frames hold what was read of the answer
        return judge(result, job.route, children=job.children, now=self._clock.now())

    def _wait(self, state: RetryCallState) -> float:
        """Full jitter, and never before the time that Notion named."""
        ceiling = min(BACKOFF_CAP_S, BACKOFF_S * 2 ** (state.attempt_number - 1))
        jitter = self._rng.uniform(0, ceiling)
        named = _outcome_of(state).retry_after_s
        return jitter if named is None else named + min(jitter, BACKOFF_S)

    def _must_stop(self, state: RetryCallState, job: Job) -> bool:
        if not job.may_go_on or state.attempt_number > MAX_RETRIES:
            return True
        if not isinstance(job.body, (bytes, type(None))):
            return True
        wait = state.upcoming_sleep
        return wait > MAX_WAIT_S or self._clock.monotonic() + wait >= job.until

    def _count(self, entered: Entered, outcome: Outcome) -> None:
        status = outcome.status
        shown = f"{status // 100}xx" if status else type(outcome.result).__name__
        shown = str(status) if status in {401, 409, 429, 529} else shown
        self._metrics.upstream.add(entered.route.name, shown)


def without(response: Response, secret: Secret) -> Response:
    """Take ``secret`` out of an answer: a gateway on the way may echo what it was sent."""
    text, removed = secret.reveal(), "[removed]"
    body = response.body.replace(text.encode(), removed.encode())
    headers = CIMultiDict((k, v.replace(text, removed)) for k, v in response.headers.items())
    return replace(response, headers=CIMultiDictProxy(headers), body=body)


def _wants_again(outcome: Any) -> bool:
    return isinstance(outcome, Outcome) and outcome.verdict is Verdict.AGAIN


def _outcome_of(state: RetryCallState) -> Outcome:
    assert state.outcome is not None
    found = state.outcome.result()
    assert isinstance(found, Outcome)
    return found


def facts_of(outcome: Outcome | None) -> Mapping[str, str | int | None]:
    """What the audit log may hold of an outcome."""
    if outcome is None:
        return {}
    response = outcome.response
    request_id = response.headers.get("x-notion-request-id") if response else None
    return {
        "verdict": outcome.verdict.value,
        "upstream_status": outcome.status,
        "upstream_request_id": request_id[:64] if request_id else None,
    }
