"""The network from a broker to Notion, and Notion's answers on a bad day."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from cloud_broker.sandbox.api.call import Answer
from cloud_broker.sandbox.clock import http_date
from cloud_broker.sandbox.errors import NotionError, plain, rate_limited
from cloud_broker.sandbox.misbehave import COMMITTED, DEADLINE_MS
from cloud_broker.transport import Body, ConnectFailed, Interrupted, Response
from tests.chaos.sim.loop import PROCESS, Loop
from tests.chaos.sim.notion import Notion
from tests.chaos.sim.trace import Trace
from tests.chaos.sim.weather import READS, WRITES, pick

LIMIT_S = 59.0  # Notion gives up a request after 60 s (reference/request-limits)
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
_REASONS = (
    "public_api_request_rate_limit",
    "public_api_request_rate_limit",
    "public_api_space_request_rate_limit",
    "public_api_endpoint_rate_limit",
)


@dataclass(slots=True)
class _Course:
    """What becomes of a request: when it is applied, when and how it is answered (None: never).

    Seconds from the moment its bytes left.
    """

    applied_s: float | None
    answered_s: float | None
    how: str = "well"


class Upstream:
    """The broker's port ``transport.Transport``."""

    def __init__(
        self, loop: Loop, notion: Notion, rng: random.Random, scale: float, trace: Trace
    ) -> None:
        """``scale``: of the faults in the tables of ``weather.py``."""
        self.scale = scale
        self.faults: dict[str, int] = {}
        self._loop = loop
        self._notion = notion
        self._rng = rng
        self._trace = trace
        self._asked = 0

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Body = None,
        deadline: float = 30.0,
        max_bytes: int = 5 * 1024 * 1024,
        before_send: Callable[[], None] | None = None,
    ) -> Response:
        """Send one request; see the port."""
        assert body is None or isinstance(body, bytes), "nothing is streamed here"
        is_read = method == "GET" or url.path.endswith(("/query", "/search"))
        fault = pick(self._rng, READS if is_read else WRITES, self.scale)
        await asyncio.sleep(self._rng.uniform(0.001, 0.05))
        if fault == "not_connected":
            self._count(fault)
            raise ConnectFailed("The connection failed.")
        if before_send is not None:
            before_send()
        self._asked += 1
        number = self._asked
        self._count(fault)
        if not is_read or fault:
            self._trace.note("upstream", f"#{number} {method} {url.path[-45:]} {fault or ''}")
        answer: asyncio.Future[Response] = self._loop.create_future()
        course = self._course(fault)
        self._depart(course, answer, number, (method, url, headers, body or b""))
        try:
            async with asyncio.timeout(deadline):
                return await answer
        except TimeoutError:
            raise Interrupted("No answer in time.", timed_out=True) from None

    def _count(self, fault: str | None) -> None:
        if fault is not None:
            self.faults[fault] = self.faults.get(fault, 0) + 1

    def _course(self, fault: str | None) -> _Course:
        rng = self._rng
        soon = min(5.0, rng.lognormvariate(-1.5, 0.6))
        match fault:
            case None:
                return _Course(soon, soon + 0.05)
            case "slow":
                late = rng.uniform(1.0, 45.0)
                return _Course(late, late + 0.05)
            case "committed_503":
                return _Course(soon, 55.0, fault)
            case "5xx_after" | "drop_after" | "truncated" | "garbage" | "html_502_after":
                return _Course(soon, soon + 0.05, fault)
            case "late_silent":
                return _Course(rng.uniform(1.0, LIMIT_S), None)
            case "late_drop" | "late_504" | "late_html_502":
                spoken = rng.uniform(0.5, 30.0)
                return _Course(rng.uniform(spoken, LIMIT_S), spoken, fault)
            case _:
                return _Course(None, soon, fault)

    def _depart(
        self,
        course: _Course,
        answer: asyncio.Future[Response],
        number: int,
        request: tuple[str, URL, Mapping[str, str], bytes],
    ) -> None:
        """From here on it is out of the broker's hands, whatever becomes of the broker."""
        outside = contextvars.copy_context()
        outside.run(PROCESS.set, None)
        result: list[Answer | NotionError] = []

        def apply() -> None:
            result.append(self._notion.apply(*request))

        def reply() -> None:
            if not answer.done():
                found = self._reply(course.how, result[0] if result else None, number)
                if isinstance(found, Response):
                    answer.set_result(found)
                else:
                    answer.set_exception(found)

        if course.applied_s is not None:
            self._loop.call_later(course.applied_s, apply, context=outside)
        if course.answered_s is not None:
            self._loop.call_later(course.answered_s, reply, context=outside)

    def _reply(
        self, how: str, result: Answer | NotionError | None, number: int
    ) -> Response | Interrupted:
        if how in ("drop_before", "drop_after", "late_drop", "truncated"):
            return Interrupted("The connection failed.")
        if how.startswith(("late_html", "html_502")):
            return self._response(502, _HTML, {"Content-Type": "text/html"})
        if isinstance(result, NotionError):
            return self._refusal(result, number)
        match how:
            case "well":
                assert result is not None
                return self._response(result.status, msgspec.json.encode(result.body))
            case "committed_503":
                assert result is not None
                return self._refusal(_committed(result), number)
            case "garbage":
                return self._response(200, b'{"object":"list","results":[{"obj' + b"\xff\xfe")
            case "429":
                wait_s = self._rng.choice((1, 1, 2, 10, 60))
                return self._refusal(rate_limited(wait_s, self._rng.choice(_REASONS)), number)
            case "late_504":
                return self._refusal(plain(504), number)
            case "5xx_before" | "5xx_after":
                return self._refusal(plain(self._rng.choice((500, 502, 503))), number)
            case _:
                return self._refusal(plain(int(how[-3:])), number)

    def _refusal(self, error: NotionError, number: int) -> Response:
        body = msgspec.json.encode(error.body(f"request-{number}"))
        return self._response(error.status, body, error.headers)

    def _response(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Response:
        date = http_date(self._notion.machine.now())
        named = CIMultiDict({"Date": date, **(headers or {})})
        return Response(status, CIMultiDictProxy(named), body)


def _committed(answer: Answer) -> NotionError:
    return NotionError(
        503,
        "service_unavailable",
        COMMITTED,
        extra={
            "from": "public_api",
            "elapsed_ms": "55012",
            "deadline_ms": DEADLINE_MS,
            "committed_resource_id": answer.resource,
            "committed_child_ids": list(answer.created),
        },
    )
