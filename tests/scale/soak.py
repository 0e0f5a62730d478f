"""Three brokers under load; one is killed and started again every few seconds.

All of this runs at the same time: reads up to a limit, keyed writes that are repeated at another
broker until their outcome is known, tokens that expire, sessions that are renewed and revoked,
webhooks and a stream. The verdict counts the faults.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from aiohttp import ClientError, ClientTimeout

from tests.scale.fleet import BROKERS, PROXY, Answer, Fleet, Person, a_key, a_newcomer, a_person
from tests.scale.push import an_event, heard, post
from tests.servers.redis import RedisServer
from tests.stack.notion import APPEND

MIRA, JONAS = "mira@example.com", "jonas@example.com"
LIMIT = 30  # of GET blocks/:id, a minute and user
REVOKED_S = 5.0
SLOW_WRITE_MS = 250
GONE = (OSError, AssertionError, ClientError, TimeoutError)  # what a sign-in meets at a kill


@dataclass
class Report:
    """Counts, and every fault as a sentence."""

    kills: int = 0
    kills_in_writes: int = 0
    grants_lost: int = 0
    redis_losses: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    reads: list[tuple[float, float]] = field(default_factory=list)  # admitted: sent, answered
    written: Counter[str] = field(default_factory=Counter)  # done, unknown, none
    expiries: int = 0
    renewals: int = 0
    revoked: int = 0
    revoked_after_s: list[float] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    audited: str = ""
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The counts for a person."""
        slowest = max(self.revoked_after_s, default=0.0)
        return [
            f"{self.kills} kills, {self.kills_in_writes} of them in a write, {self.grants_lost} in"
            f" a refresh that Notion had answered; Redis lost {self.redis_losses} times",
            "answers: "
            + ", ".join(f"{many} {kind}" for kind, many in sorted(self.answers.items())),
            f"{len(self.reads)} reads admitted, at most {self.most_in_a_minute()} in 60 s"
            f" (limit {LIMIT})",
            "writes: " + ", ".join(f"{many} {end}" for end, many in sorted(self.written.items())),
            f"{self.expiries} expiries; {self.renewals} sessions renewed; {self.revoked} revoked,"
            f" refused by each broker that was up within {slowest:.1f} s",
            f"{len(self.acknowledged)} webhooks acknowledged,"
            f" {len(self.acknowledged & self.told)} told",
            f"audit: {self.audited}",
            *(f"FAULT: {fault}" for fault in self.faults),
        ]

    def most_in_a_minute(self) -> int:
        """The most reads that certainly fell within 60 s: sent and answered inside it."""
        return max(
            (
                sum(1 for sent, answered in self.reads if sent >= first and answered <= first + 60)
                for first, _ in self.reads
            ),
            default=0,
        )


class Soak:
    """One run. ``gentle``: nobody is killed in a refresh, which would take 27 s to mend."""

    def __init__(
        self, fleet: Fleet, seed: int, *, gentle: bool = True, redis: RedisServer | None = None
    ) -> None:
        """``redis`` given: it is lost now and then too."""
        self.report = Report()
        self._fleet = fleet
        self._redis = redis
        self._random = Random(seed)
        self._up = set(range(BROKERS))
        self._done = asyncio.Event()
        self._heard, self._begun = asyncio.Event(), asyncio.Event()
        self._writing: Counter[int] = Counter()
        self._quiet = asyncio.Lock()  # held while something must not be killed
        self._gentle = gentle
        self._ended: set[str] = set()  # whose grant Notion has ended
        self._expected: dict[str, str] = {}
        self._page = ""

    async def run(self, seconds: float) -> Report:
        """Load the brokers for so long, let everything end, and judge."""
        fleet = self._fleet
        async with AsyncExitStack() as stack:
            mira = await stack.enter_async_context(a_newcomer(fleet, MIRA))
            jonas = await stack.enter_async_context(a_newcomer(fleet, JONAS))
            self._page = fleet.notion.page("Soak", "# One").id
            theirs = fleet.notion.page("Soak", "# One", workspace_id=jonas.workspace).id
            slow = {"route": APPEND, "kind": "latency", "params": {"ms": SLOW_WRITE_MS}}
            fleet.notion.misbehave(slow)
            lanes: list[Awaitable[None]] = [self._kill(), self._expire(mira), self._renew(mira)]
            lanes += [self._revoke(mira), self._post(mira), self._mend(mira, jonas)]
            lanes += [self._write(mira, lane) for lane in range(2)]
            lanes += [self._read(jonas, theirs) for _ in range(3)]
            if self._redis is not None:
                lanes.append(self._lose_redis(self._redis))
            listening = asyncio.ensure_future(self._listen(mira))
            loading = asyncio.gather(*lanes)
            await asyncio.wait({loading}, timeout=seconds)
            self._done.set()
            await loading
            await asyncio.wait({asyncio.ensure_future(self._all_told())}, timeout=20)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        fleet.notion.behave()
        await self._judge()
        return self.report

    # --- what is done to them ----------------------------------------------------------------

    async def _kill(self) -> None:
        while not await self._over(self._random.uniform(0.5, 2.0)):
            self._begun.clear()
            await asyncio.wait({asyncio.ensure_future(self._begun.wait())}, timeout=1.0)
            await self._over(0.1)  # the write is at Notion by now
            async with self._gently():
                busy = [number for number in self._up if self._writing[number]]
                victim = self._random.choice(busy or sorted(self._up))
                self.report.kills += 1
                self.report.kills_in_writes += bool(busy)
                self._up.discard(victim)
                await asyncio.to_thread(self._fleet.brokers[victim].kill)
            await asyncio.to_thread(self._fleet.start, victim)
            self._up.add(victim)

    async def _lose_redis(self, redis: RedisServer) -> None:
        while not await self._over(self._random.uniform(8, 15)):
            self.report.redis_losses += 1
            how = self._random.choice(("kill", "hang", "flush"))
            if how == "flush":
                redis.say("FLUSHALL")
                continue
            (redis.kill if how == "kill" else redis.hang)()
            await self._over(self._random.uniform(1, 6))
            await asyncio.to_thread(redis.start if how == "kill" else redis.go_on)

    # --- what people do ----------------------------------------------------------------------

    async def _read(self, jonas: Person, page: str) -> None:
        """Far more than the limit admits."""
        while not await self._over(0.15):
            sent = time.monotonic()
            answer = await jonas.call(self._any(), "GET", f"{PROXY}blocks/{page}")
            self._note("read", answer, {0, 200, 429}, JONAS)
            if answer.status == 200:
                self.report.reads.append((sent, time.monotonic()))

    async def _write(self, mira: Person, lane: int) -> None:
        """One keyed write after the other, each repeated until it is known what became of it."""
        turn = 0
        while not await self._over(self._random.uniform(0.3, 1.0)):
            turn += 1
            text = f"{lane}.{turn}"
            self._expected[text] = end = await self._to_its_end(mira, text)
            self.report.written[end] += 1

    async def _to_its_end(self, mira: Person, text: str) -> str:
        key, has_died, sign, give_up = a_key(), False, "", time.monotonic() + 150
        while time.monotonic() < give_up:
            number = self._any()
            self._writing[number] += 1
            self._begun.set()
            answer = await mira.append(number, self._page, text, key)
            self._writing[number] -= 1
            sign = answer.headers.get("X-Broker-Code", "")
            if answer.status == 200:
                self._note("write", answer, {200})
                return "done"
            has_died |= answer.status == 0
            if sign == "write_outcome_unknown" and has_died:
                self.report.answers["write of a dead broker, unknown"] += 1
                return "unknown"
            self._note("write", answer, {0, 409, 429})
            if sign.startswith("limit") and self._done.is_set():
                return "unknown" if has_died else "none"
            await asyncio.sleep(0.2)
        self.report.faults.append(f"no end of write {text}: {sign}")
        return "unknown"

    async def _expire(self, mira: Person) -> None:
        """Every now and then Notion's tokens are over: many notice, one refreshes."""
        ask = self._fleet.notion.ask
        await asyncio.to_thread(ask, "PATCH", "config", {"token_ttl_s": 3600})
        while not await self._over(4.0):
            async with self._gently():
                before = await self._refreshes()
                await asyncio.to_thread(ask, "POST", "clock", {"advance_s": 4000})
                path = f"{PROXY}pages/{self._page}"
                calls = [mira.call(self._any(), "GET", path) for _ in range(6)]
                for answer in await asyncio.gather(*calls):
                    self._note("read with an expired token", answer, {0, 200, 429})
                self.report.expiries += 1
                if self._gentle:
                    await self._compared(mira, before)
        await asyncio.to_thread(ask, "PATCH", "config", {"token_ttl_s": None})

    async def _compared(self, mira: Person, before: Counter[str]) -> None:
        """Notion heard one refresh of each account at most, and every pair was kept."""
        end = time.monotonic() + 10
        while True:
            since = await self._refreshes()
            since.subtract(before)
            if since["heard"] == since["kept"] or time.monotonic() > end:
                break
        if since["heard"] != since["kept"] or since[mira.user] > 1:
            self.report.faults.append(f"refreshes at one expiry: {dict(since)}")

    async def _mend(self, mira: Person, jonas: Person) -> None:
        """A broker that died in a refresh took the new pair with it: the person connects again."""
        while not await self._over(0.5):
            for user, person in ((MIRA, mira), (JONAS, jonas)):
                if user not in self._ended:
                    continue
                try:
                    async with a_person(self._fleet, user, at=self._any()) as again:
                        person.tokens = again.tokens
                except GONE:
                    continue
                self._ended.discard(user)
                self.report.grants_lost += 1

    async def _renew(self, mira: Person) -> None:
        """A refresh token is traded in; where the answer is lost, again at another broker."""
        while not await self._over(2.0):
            body = {"grant_type": "refresh_token", "refresh_token": mira.tokens["refresh_token"]}
            answer = await mira.call(self._any(), "POST", "/api/auth/token", body=body)
            self._note("renewal", answer, {0, 200, 429})
            if answer.status == 200:
                self.report.renewals += 1
                mira.tokens |= answer.body

    async def _revoke(self, mira: Person) -> None:
        """A second session is opened, used everywhere, and revoked at one broker."""
        while not await self._over(1.0):
            async with AsyncExitStack() as stack:
                signing_in = a_person(self._fleet, MIRA, at=self._any())
                try:
                    async with self._gently():
                        person = await stack.enter_async_context(signing_in)
                except GONE:
                    continue
                for number in sorted(self._up):
                    await person.call(number, "GET", "/api/user/me")
                listed = await person.call(self._any(), "GET", "/api/auth/sessions")
                if listed.status == 200:
                    sessions = listed.body["sessions"]
                    mine = next(each["id"] for each in sessions if each.get("current"))
                    await self._end_session(mira, person, mine)

    async def _end_session(self, mira: Person, person: Person, session: str) -> None:
        status = 0
        while status not in (204, 404):  # 404: an attempt whose answer was lost has done it
            answer = await mira.call(self._any(), "DELETE", f"/api/auth/sessions/{session}")
            status = answer.status
            self._note("revocation", answer, {0, 204, 404})
        revoked, refused = time.monotonic(), set[int]()
        self.report.revoked += 1
        while len(refused) < BROKERS and time.monotonic() < revoked + 20:
            for number in self._up - refused:
                sent = time.monotonic()
                answer = await person.call(number, "GET", "/api/user/me")
                self._note("call of a revoked session", answer, {0, 200, 401})
                if answer.status == 401:
                    refused.add(number)
                    self.report.revoked_after_s.append(sent - revoked)
                elif answer.status == 200 and sent - revoked > REVOKED_S:
                    self.report.faults.append(f"served {sent - revoked:.1f} s after its end")
            await asyncio.sleep(0.1)

    async def _post(self, mira: Person) -> None:
        """Notion posts what has changed, again where the answer was lost."""
        while not await self._over(0.5):
            page = str(UUID(int=self._random.getrandbits(128), version=4))
            raw, status = an_event(mira.workspace, page), 0
            while status != 200:
                try:
                    status = await post(mira.http, self._fleet.urls[self._any()], raw)
                except ClientError:
                    await asyncio.sleep(0.1)
                else:
                    self._note("webhook", Answer(status), {200})
            self.report.acknowledged.add(page)

    async def _listen(self, mira: Person) -> None:
        """One daemon's stream, resumed at whichever broker lives."""
        last, endless = 0, ClientTimeout(total=None, connect=5)
        while True:
            url = f"{self._fleet.urls[self._any()]}/api/events"
            headers = {**mira.headers, "Last-Event-ID": str(last)}
            try:
                async with mira.http.get(url, headers=headers, timeout=endless) as stream:
                    async for told in heard(stream.content):
                        if told.kind == "gap":
                            self.report.faults.append("a gap in the stream")
                        if told.kind == "page":
                            if told.seq is None or told.seq <= last:
                                self.report.faults.append(f"told {told.seq} after {last}")
                            self.report.told.add(told.data["page_id"])
                            self._heard.set()
                        last = max(last, told.seq or 0)
            except ClientError:
                pass
            await asyncio.sleep(0.1)

    async def _all_told(self) -> None:
        while self.report.acknowledged - self.report.told:
            await self._heard.wait()
            self._heard.clear()

    # --- the verdict -------------------------------------------------------------------------

    async def _judge(self) -> None:
        report = self.report
        stands = Counter(self._fleet.notion.texts(self._page))
        for text, end in self._expected.items():
            most, least = (0 if end == "none" else 1), (1 if end == "done" else 0)
            if not least <= stands[text] <= most:
                report.faults.append(f"{text} ended as {end} and stands {stands[text]} times")
        if report.most_in_a_minute() > (2 * LIMIT if report.redis_losses else LIMIT):
            report.faults.append(f"{report.most_in_a_minute()} reads in a minute")
        if report.acknowledged - report.told:
            report.faults.append(f"never told: {len(report.acknowledged - report.told)}")
        code, said = await asyncio.to_thread(self._fleet.command, "cloud_broker", "audit", "verify")
        report.audited = said.strip()
        if code != 0:
            report.faults.append(f"audit verify: {said}")

    def _note(self, what: str, answer: Answer, allowed: set[int], user: str = MIRA) -> None:
        self.report.answers[f"{what} {answer.status or 'died'}"] += 1
        if answer.status in allowed:
            return
        sign = answer.headers.get("X-Broker-Code", answer.body)
        if not self._gentle and sign in ("NOTION_TOKEN_INVALID", "upstream_unavailable"):
            if sign == "NOTION_TOKEN_INVALID":
                self._ended.add(user)
            return
        self.report.faults.append(f"{what}: {answer.status} {sign}")

    async def _refreshes(self) -> Counter[str]:
        """How many token calls Notion heard, how many pairs were kept, and each account's."""
        oauth = (await asyncio.to_thread(self._fleet.notion.ask, "GET", "calls"))["oauth"]["calls"]
        found = Counter({"heard": sum(call["route"].endswith("/oauth/token") for call in oauth)})
        connection = await asyncpg.connect(self._fleet.database)
        for row in await connection.fetch("SELECT user_id, version FROM notion_connections"):
            found[row["user_id"]] = row["version"]
            found["kept"] += row["version"]
        await connection.close()
        return found

    def _gently(self) -> AbstractAsyncContextManager[Any]:
        return self._quiet if self._gentle else AsyncExitStack()

    def _any(self) -> int:
        return self._random.choice(sorted(self._up))

    async def _over(self, seconds: float) -> bool:
        """Wait so long, or to the end of the run; whether that has come."""
        try:
            await asyncio.wait_for(self._done.wait(), seconds)
        except TimeoutError:
            return False
        return True
