"""Settling an unknown outcome: look now, wait until nothing can be under way, look again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from clipperd.clock import Clock, rfc3339
from clipperd.content import chunks, fingerprint
from clipperd.delivery import batch, reconcile
from clipperd.delivery.outcome import Applied, NotApplied, Verdict
from clipperd.delivery.reconcile import Absent, Finding, Found, Undecided
from clipperd.delivery.terms import Surroundings, Timing
from clipperd.model import Block, Scope
from clipperd.outbox import lanes
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import Request, plan_from_json
from clipperd.transport import Notion


class Look(msgspec.Struct, frozen=True):
    """What a look at the page decided: a verdict, a wait, or (neither) that a person must."""

    verdict: Verdict | None = None
    wait_s: float | None = None
    why: str = ""
    calls: int = 0


class Settler:
    """Keeps the settle deadlines, on the boot clock; after a restart each counts in full again."""

    def __init__(
        self,
        outbox: Outbox,
        notion: Notion,
        clock: Clock,
        timing: Timing,
        around: Surroundings,
    ) -> None:
        """All parts are given."""
        self._outbox = outbox
        self._notion = notion
        self._clock = clock
        self._timing = timing
        self._around = around
        self._deadlines: dict[str, float] = {}
        self._calls: dict[str, int] = {}

    def started(self, key: str, seconds: float) -> None:
        """The outcome of ``key`` became unknown now; absence proves something after ``seconds``."""
        self._deadlines[key] = self._clock.boot() + seconds

    def forget(self, key: str) -> None:
        """The request is resolved."""
        self._deadlines.pop(key, None)
        self._calls.pop(key, None)

    async def look(self, request: Request) -> Look:
        """Read the page and judge. Raises what ``Notion.send`` raises."""
        if request.key not in self._deadlines:
            full = request.settle_s
            self.started(request.key, self._timing.settle_silent if full is None else full)
        deadline = self._deadlines[request.key]
        final = self._clock.boot() >= deadline
        finding, calls, refused_wait = await self._find(request, whole=final)
        total = self._calls.get(request.key, 0) + calls
        self._calls[request.key] = total
        if refused_wait is not None:
            return Look(wait_s=refused_wait)
        match finding:
            case Found(ids):
                return Look(verdict=Applied(ids), calls=total + 1)
            case Absent() if final:
                again = NotApplied(None, None, True, "not_applied", "", proven=True)
                return Look(verdict=again, calls=total + 1)
            case Undecided(why) if final or why == "page_gone":
                return Look(why=why)
            case _:
                return Look(wait_s=max(0.05, deadline - self._clock.boot()))

    async def _find(self, request: Request, *, whole: bool) -> tuple[Finding, int, float | None]:
        """The finding, the calls it took, and a wait when Notion would not let us read."""
        bot = await self._around.bot_id(request.scope)
        parent = msgspec.json.decode(request.body).get("parent") or {}
        if "data_source_id" in parent:
            return await self._find_row(request, bot)
        start = None if whole else await self._start(request)
        listing = await reconcile.read_children(
            self._notion, request.scope, request.parent_id, start=start
        )
        if listing.refusal is not None:
            if listing.refusal.status in (400, 403, 404):
                return Undecided("page_gone"), listing.calls, None
            wait = listing.refusal.retry_after_s or self._timing.retry_base
            return Undecided("unread"), listing.calls, wait
        if listing.cut:
            return Undecided("too_long"), listing.calls, None
        if request.kind == "create_page":
            known = await self._known(request.scope, listing.blocks)
            title = request.expected[0]
            found = reconcile.judge_pages(
                title, listing.blocks, bot_id=bot, sent_at=self._sent_at(request), known=known
            )
            return found, listing.calls, None
        ids = [str(block.get("id")) for block in listing.blocks]
        receipted = await self._outbox.read(lambda c: lanes.receipted(c, ids))
        suspected = reconcile.suspects(
            listing.blocks, bot_id=bot, sent_at=self._sent_at(request), receipted=receipted
        )
        suspected = reconcile.without(suspected, await self._carried(request))
        return reconcile.judge(request.expected, suspected), listing.calls, None

    async def _start(self, request: Request) -> str | None:
        """From where an early look may read: the anchor, else the last block known to be ours."""
        if request.after_id is not None or request.edge == "start":
            return request.after_id
        if request.parent_id != request.lane:
            return None
        lane = (request.scope.user_id, request.scope.workspace_id, request.lane)
        return await self._outbox.read(lambda c: lanes.last_block(c, lane))

    async def _find_row(
        self, request: Request, bot: str | None
    ) -> tuple[Finding, int, float | None]:
        """Look for a created row in its data source, by time and author."""
        since = rfc3339(reconcile.earliest(self._sent_at(request)))
        body = {
            "filter": {"timestamp": "created_time", "created_time": {"on_or_after": since}},
            "page_size": 100,
        }
        path = f"data_sources/{request.parent_id}/query"
        reply = await self._notion.send(request.scope, "POST", path, body=chunks.encode(body))
        if not reply.ok or not isinstance(reply.body, dict):
            if reply.status in (400, 403, 404):
                return Undecided("page_gone"), 1, None
            return Undecided("unread"), 1, reply.retry_after_s or self._timing.retry_base
        if reply.body.get("has_more"):
            return Undecided("too_long"), 1, None
        rows = reply.body.get("results") or []
        known = await self._known(request.scope, rows)
        found = reconcile.judge_pages(
            request.expected[0],
            rows,
            bot_id=bot,
            sent_at=self._sent_at(request),
            known=known,
        )
        return found, 1, None

    def _sent_at(self, request: Request) -> float:
        """When it was sent at the earliest: a first request is stamped by our own clock, and by
        how much that is ahead of the server's is known only since the first answer."""
        return request.sent_at - max(0.0, self._clock.now() - self._around.server_now())

    async def _carried(self, request: Request) -> list[str]:
        """What the parent was created with by one of our clips: ours, but without receipts."""
        parent = request.parent_id
        found = await self._outbox.read(lambda c: lanes.origin(c, request.scope, parent))
        if found is None:
            return []
        item, plan = found
        blocks = batch.carried(item, plan_from_json(plan), parent)
        return [fingerprint.of(block) for block in blocks]

    async def _known(self, scope: Scope, items: Sequence[Block]) -> set[str]:
        """Pages that are accounted for: made by other clips, or passed through."""
        ids = [str(item.get("id")) for item in items]
        return await self._outbox.read(
            lambda c: lanes.known_pages(c, scope) | lanes.receipted(c, ids)
        )
