"""Runs a plan against an API: sends on time, reads answers, pauses between phases."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from yarl import URL

from cloud_broker.clock import Clock
from cloud_broker.errors import ProbeFailed
from cloud_broker.proxy.outcome import retry_after
from cloud_broker.ratelimit_probe.holders import Holder, read_holder
from cloud_broker.ratelimit_probe.plan import Phase, Plan, schedule
from cloud_broker.ratelimit_probe.tally import Reply, ReplyKind, Result, tally
from cloud_broker.secret import Secret
from cloud_broker.transport import Response, Transport, TransportError

BLOCKED = "public_api_request_blocked"  # after this reason a client must stop
DEADLINE_S = 30.0  # seconds per request
ANSWER_BYTES = 1024 * 1024
REPORTS = 6  # lines of progress per phase

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """The request of the experiment: ``GET {origin}/v1/{call}`` with one of the tokens."""

    origin: URL
    call: str
    notion_version: str
    tokens: Mapping[str, Secret]


class Runner:
    """One experiment. It sends at most the requests of the plan."""

    def __init__(
        self,
        target: Target,
        transport: Transport,
        clock: Clock,
        chance: random.Random,
        report: Report,
        stop: asyncio.Event,
    ) -> None:
        """``report`` gets lines of progress; setting ``stop`` ends the experiment early."""
        self._target = target
        self._transport = transport
        self._clock = clock
        self._chance = chance
        self._report = report
        self._stop = stop
        self._closed_until = 0.0  # monotonic: end of the latest Retry-After
        self.gave_up: str | None = None  # the reason for stopping, if any

    async def holder(self, label: str) -> Holder:
        """Return the holder of a token. Raises ProbeFailed."""
        try:
            answer = await self._get(label, "users/me")
        except TransportError as error:
            raise ProbeFailed(f"{self._target.origin} does not answer. {error}") from error
        found = read_holder(_object(answer)) if answer.status == 200 else None
        if found is None:
            raise ProbeFailed(
                f"Token {label} cannot be used: GET users/me answered {answer.status}.",
                hint="After a 401, check the token; after a 429, wait and try again.",
            )
        return found

    async def run(self, plan: Plan) -> list[Result]:
        """Run the phases; a stopped experiment returns fewer."""
        results: list[Result] = []
        start = self._clock.monotonic()
        for number, phase in enumerate(plan.phases, 1):
            if results:
                start = plan.next_start(start, self._closed_until)
                pause_s = start - self._clock.monotonic()
                self._report(f"pause of {pause_s:.0f} s")
                await self._wait(pause_s)
            if self._stop.is_set():
                break
            self._report(f"phase {number} of {len(plan.phases)}: {phase.name}")
            results.append(await self._phase(phase, plan))
        return results

    async def _phase(self, phase: Phase, plan: Plan) -> Result:
        due = schedule(phase, plan, self._chance)
        every = max(1, len(due) // REPORTS)
        replies: list[Reply] = []
        start, at_s = self._clock.monotonic(), 0.0
        complete = True
        async with asyncio.TaskGroup() as group:
            for number, (offset_s, token) in enumerate(due, 1):
                await self._wait(start + offset_s - self._clock.monotonic())
                if self._stop.is_set():
                    complete = False
                    break
                at_s = self._clock.monotonic() - start
                group.create_task(self._ask(token, at_s, replies))
                if number % every == 0:
                    refused = sum(each.outcome is ReplyKind.REFUSED for each in replies)
                    self._report(f"  {at_s:.0f} s: {number} of {len(due)} sent, {refused} refused")
        counts = {token: tally(replies, token) for token in phase.tokens}
        return Result(phase, counts, at_s, complete)

    async def _ask(self, token: str, at_s: float, replies: list[Reply]) -> None:
        try:
            answer = await self._get(token, self._target.call)
        except TransportError:
            replies.append(Reply(at_s, token, ReplyKind.FAILED))
            return
        if 200 <= answer.status < 300:
            replies.append(Reply(at_s, token, ReplyKind.ADMITTED))
            return
        if answer.status == 429:
            replies.append(self._refused(answer, token, at_s))
            return
        replies.append(Reply(at_s, token, ReplyKind.FAILED))
        if answer.status < 500:
            self._give_up(f"Token {token} got the status {answer.status}, so the probe stopped.")

    def _refused(self, answer: Response, token: str, at_s: float) -> Reply:
        body = _object(answer)
        data = body.get("additional_data")
        given = data.get("rate_limit_reason") if isinstance(data, Mapping) else None
        reason = given if isinstance(given, str) else None
        wait_s = retry_after(answer.headers.get("Retry-After"), self._clock.now())
        if wait_s is not None:
            self._closed_until = max(self._closed_until, self._clock.monotonic() + wait_s)
        if reason == BLOCKED:
            self._give_up(f"Notion has blocked token {token} ({BLOCKED}), so the probe stopped.")
        return Reply(at_s, token, ReplyKind.REFUSED, wait_s, reason)

    def _give_up(self, why: str) -> None:
        self.gave_up = self.gave_up or why
        self._stop.set()

    async def _get(self, token: str, call: str) -> Response:
        headers = {
            "Authorization": f"Bearer {self._target.tokens[token].reveal()}",
            "Notion-Version": self._target.notion_version,
            "Accept": "application/json",
        }
        url = self._target.origin.with_path(f"/v1/{call}")
        return await self._transport.send(
            "GET", url, headers, deadline=DEADLINE_S, max_bytes=ANSWER_BYTES
        )

    async def _wait(self, seconds: float) -> None:
        """Sleep until the time is over or ``stop`` is set."""
        sleeping = asyncio.ensure_future(self._clock.sleep(max(0.0, seconds)))
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((sleeping, stopping), return_when=asyncio.FIRST_COMPLETED)
        for each in (sleeping, stopping):
            each.cancel()
        await asyncio.gather(sleeping, stopping, return_exceptions=True)


def _object(answer: Response) -> Mapping[str, object]:
    """Return the decoded object of an answer, or an empty one."""
    try:
        value = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
