"""Resolve an unknown outcome: read, wait until nothing can be in flight, read again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from clipperd.clock import Clock, rfc3339
from clipperd.content import chunks, fingerprint
from clipperd.delivery import batch, reconcile
from clipperd.delivery.outcome import Applied, NotApplied, Verdict
from clipperd.delivery.ports import Dependencies, Timeouts
from clipperd.delivery.reconcile import Absent, Finding, Found, Others, Undecided
from clipperd.errors import ClipperdError
from clipperd.model import Block, Scope
from clipperd.notion.port import Call, Notion
from clipperd.outbox import lanes
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import Request, plan_from_json

_CONTESTED_AGAIN_S = 10.0


class Observation(msgspec.Struct, frozen=True):
    """The result of a look at the page: a verdict, a wait, or neither: the user must decide."""

    verdict: Verdict | None = None
    wait_s: float | None = None
    why: str = ""
    calls: int = 0


class _Reading(msgspec.Struct, frozen=True):
    """The result of one reading: the finding, the calls, and a wait if Notion refused the read.

    ``contested``: another program's write of unknown outcome may have made the blocks.
    """

    finding: Finding
    calls: int
    wait_s: float | None = None
    contested: bool = False


class OutcomeResolver:
    """Keeps the settle deadlines on the boot clock; each starts again after a restart."""

    def __init__(
        self,
        outbox: Outbox,
        notion: Notion,
        clock: Clock,
        timeouts: Timeouts,
        deps: Dependencies,
    ) -> None:
        """``deps`` gives the bot's id and the record of the account's writes."""
        self._outbox = outbox
        self._notion = notion
        self._clock = clock
        self._timeouts = timeouts
        self._deps = deps
        self._deadlines: dict[str, float] = {}
        self._calls: dict[str, int] = {}

    def started(self, key: str, seconds: float) -> None:
        """Start the deadline of ``key``; an absent block proves something after ``seconds``."""
        self._deadlines[key] = self._clock.boot() + seconds

    def forget(self, key: str) -> None:
        """Forget a resolved request."""
        self._deadlines.pop(key, None)
        self._calls.pop(key, None)

    async def look(self, request: Request) -> Observation:
        """Read the page and judge. Raises as ``Notion.send``."""
        if request.key not in self._deadlines:
            full = request.settle_s
            self.started(request.key, self._timeouts.settle_silent_s if full is None else full)
        deadline, boot = self._deadlines[request.key], self._clock.boot()
        final = boot >= deadline
        seen = await self._find(request, whole=final)
        total = self._calls.get(request.key, 0) + seen.calls
        self._calls[request.key] = total
        if seen.wait_s is not None:
            return Observation(wait_s=seen.wait_s)
        if seen.contested and boot < deadline + self._timeouts.settle_contested_s:
            return Observation(wait_s=max(deadline - boot, _CONTESTED_AGAIN_S))
        match seen.finding:
            case Found() if seen.contested:
                return Observation(why="contested")
            case Found(ids):
                return Observation(verdict=Applied(ids), calls=total + 1)
            case Absent() if final:
                again = NotApplied(None, None, True, "not_applied", "", proven=True)
                return Observation(verdict=again, calls=total + 1)
            case Undecided(why) if final or why == "page_gone":
                return Observation(why=why)
            case _:
                return Observation(wait_s=max(0.05, deadline - self._clock.boot()))

    async def tell(self, request: Request, verdict: Verdict) -> None:
        """Report the finding to the account's other programs, if that works now."""
        created = verdict.ids if isinstance(verdict, Applied) else ()
        with contextlib.suppress(ClipperdError):
            await self._deps.writes.settled(request.scope, request.key, created)

    async def _find(self, request: Request, *, whole: bool) -> _Reading:
        bot = await self._deps.bot_id(request.scope)
        parent = msgspec.json.decode(request.body).get("parent") or {}
        if "data_source_id" in parent:
            return await self._find_row(request, bot)
        start = None if whole else await self._start(request)
        listing = await reconcile.read_children(
            self._notion, request.scope, request.parent_id, start=start
        )
        if listing.refusal is not None:
            if listing.refusal.status in (400, 403, 404):
                return _Reading(Undecided("page_gone"), listing.calls)
            wait = listing.refusal.retry_after_s or self._timeouts.retry_base_s
            return _Reading(Undecided("unread"), listing.calls, wait)
        if listing.cut:
            return _Reading(Undecided("too_long"), listing.calls)
        if request.kind == "create_page":
            return await self._pages(request, listing.blocks, bot, listing.calls)
        ids = [str(block.get("id")) for block in listing.blocks]
        receipted = await self._outbox.read(lanes.receipted, ids)
        suspected = reconcile.suspects(
            listing.blocks, bot_id=bot, sent_at=request.sent_at, receipted=receipted
        )
        suspected = reconcile.without(suspected, await self._carried(request))
        if not suspected:
            return _Reading(Absent(), listing.calls)
        others = await self._others(request)
        suspected = [block for block in suspected if str(block.get("id")) not in others.created]
        finding = reconcile.judge(request.expected, suspected)
        return _Reading(finding, listing.calls, contested=_is_contested(finding, others))

    async def _pages(
        self, request: Request, listed: Sequence[Block], bot: str | None, calls: int
    ) -> _Reading:
        """Look for the created page among a parent's children or a query's rows."""
        title, sent_at = request.expected[0], request.sent_at
        known = await self._known(request.scope, listed)
        found = reconcile.judge_pages(title, listed, bot_id=bot, sent_at=sent_at, known=known)
        if isinstance(found, Absent):
            return _Reading(found, calls)
        others = await self._others(request)
        found = reconcile.judge_pages(
            title, listed, bot_id=bot, sent_at=sent_at, known=known | others.created
        )
        return _Reading(found, calls, contested=_is_contested(found, others))

    async def _others(self, request: Request) -> Others:
        """Return the writes of the account's other programs since shortly before this one.

        Notion may apply a write long after it was sent.
        """
        since = reconcile.earliest(request.sent_at) - self._timeouts.settle_silent_s
        found = await self._deps.writes.since(request.scope, since)
        own = await self._outbox.read(lanes.own_keys, request.scope)
        return reconcile.others_of(found, request.key, own)

    async def _start(self, request: Request) -> str | None:
        """Return where an early look may start: the anchor, or the last block known to be ours."""
        if request.after_id is not None or request.edge == "start":
            return request.after_id
        if request.parent_id != request.lane:
            return None
        lane = (request.scope.user_id, request.scope.workspace_id, request.lane)
        return await self._outbox.read(lanes.last_block, lane)

    async def _find_row(self, request: Request, bot: str | None) -> _Reading:
        """Look for a created row in its data source, by time and author."""
        since = rfc3339(reconcile.earliest(request.sent_at))
        body = {
            "filter": {"timestamp": "created_time", "created_time": {"on_or_after": since}},
            "page_size": 100,
        }
        path = f"data_sources/{request.parent_id}/query"
        reply = await self._notion.send(request.scope, Call("POST", path, body=chunks.encode(body)))
        if not reply.ok or not isinstance(reply.body, dict):
            if reply.status in (400, 403, 404):
                return _Reading(Undecided("page_gone"), 1)
            wait = reply.retry_after_s or self._timeouts.retry_base_s
            return _Reading(Undecided("unread"), 1, wait)
        if reply.body.get("has_more"):
            return _Reading(Undecided("too_long"), 1)
        return await self._pages(request, reply.body.get("results") or [], bot, 1)

    async def _carried(self, request: Request) -> list[str]:
        """Return the fingerprints of the children that came with the parent: no receipts."""
        parent = request.parent_id
        found = await self._outbox.read(lanes.creator_of, request.scope, parent)
        if found is None:
            return []
        item, plan = found
        blocks = batch.inline_children(item, plan_from_json(plan), parent)
        return [fingerprint.of(block) for block in blocks]

    async def _known(self, scope: Scope, items: Sequence[Block]) -> set[str]:
        """Return the pages that other clips created or that were passed through."""
        ids = [str(item.get("id")) for item in items]
        return await self._outbox.read(lanes.known_pages, scope, ids)


def _is_contested(finding: Finding, others: Others) -> bool:
    """Return whether the finding may belong to another write whose outcome is still unknown."""
    match finding:
        case Absent():
            return False
        case Found():
            return others.alike
        case Undecided():
            return others.open
