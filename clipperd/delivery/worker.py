"""Run one step of a lane: resolve the open request, or choose, store, send and judge the next.

The order of commits makes a crash safe at every line: the request row is committed before the
bytes leave, and only the transaction that stores the outcome deletes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from clipperd.broker.reply import Reply
from clipperd.clock import Clock
from clipperd.content.chunks import Chunk
from clipperd.delivery import batch, outcome
from clipperd.delivery.continuation import Continuation
from clipperd.delivery.keys import new_key
from clipperd.delivery.newpage import NewPages, ParentGone
from clipperd.delivery.ports import Dependencies, Failure, StepResult, Timeouts
from clipperd.delivery.recorder import Recorder
from clipperd.delivery.resolver import OutcomeResolver
from clipperd.delivery.throttle import Throttle, backoff
from clipperd.delivery.undo import UndoWorker
from clipperd.errors import BrokerUnreachable, NotSignedIn, PlaceGone, ReadFailed, ReauthRequired
from clipperd.model import InsertionPoint, Scope, State
from clipperd.notion.port import Call, Notion
from clipperd.outbox import identity, lanes, requests
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import LaneKey, QueuedDelivery, Request, plan_from_json
from clipperd.outline.positions import PositionResolver
from clipperd.pages.pages import Pages

_log = logging.getLogger(__name__)

MAX_ANCHOR_LOSSES = 4
"""How often Notion may refuse a delivery's insertion point before the user must decide."""


class Worker:
    """Steps one lane at a time; the dispatcher decides which."""

    def __init__(
        self,
        outbox: Outbox,
        notion: Notion,
        positions: PositionResolver,
        pages: Pages,
        clock: Clock,
        throttle: Throttle,
        timeouts: Timeouts,
        deps: Dependencies,
    ) -> None:
        """Opens and starts nothing."""
        self._outbox = outbox
        self._notion = notion
        self._positions = positions
        self._clock = clock
        self._throttle = throttle
        self._timeouts = timeouts
        self._deps = deps
        self._resolver = OutcomeResolver(outbox, notion, clock, timeouts, deps)
        self._recorder = Recorder(outbox, pages, clock, timeouts, self._resolver)
        self._undo = UndoWorker(outbox, notion, positions, clock, deps)
        self._pages = pages
        self._new_pages = NewPages(outbox, notion)
        self._continuation = Continuation(notion, positions, deps)
        self._tries: dict[LaneKey, int] = {}
        self._link_tries = 0
        self.last_failure: Failure | None = None

    async def step(self, lane: LaneKey) -> StepResult:
        """Do one unit of work for the lane, at most one write at Notion."""
        frees = self._throttle.resets
        try:
            return await self._step(lane)
        except BrokerUnreachable as error:
            self._failed(lane, error.code, error.detail)
            if self._throttle.resets != frees:
                return (
                    StepResult.LATER
                )  # it began before the network was back: due again immediately
            if error.sent:  # this connection broke; others may work
                self._back_off(lane, None)
            else:
                self._offline()
            return StepResult.LATER
        except (NotSignedIn, ReauthRequired) as error:
            self._failed(lane, error.code, error.detail)
            return StepResult.NOTHING  # the session's next change wakes every lane
        except requests.Changed:
            return StepResult.AGAIN
        except ReadFailed as failed:
            self._answered(lane, failed.reply)
            return self._read_failed(lane, failed.reply)

    async def _step(self, lane: LaneKey) -> StepResult:
        work = await self._outbox.read(lanes.next_work, lane)
        if work.request is not None:
            return await self._resume(lane, work.request)
        if work.undo is not None:
            await self._undo.step(lane, work.undo)
            self._online()
            return StepResult.AGAIN
        group = batch.choose(work.line, parked=work.parked)
        if not group:
            return StepResult.NOTHING
        is_last = len(group) == len(work.line) and group[0].chunks - group[0].chunks_done <= 1
        return await self._deliver(lane, group, is_last=is_last)

    async def _deliver(
        self, lane: LaneKey, group: Sequence[QueuedDelivery], *, is_last: bool
    ) -> StepResult:
        """Send the group's request. ``is_last``: nothing waits in the lane after it."""
        scope = Scope(lane[0], lane[1])
        first = group[0]
        plans = await self._plans(group)
        if first.page_id is None:
            return await self._create(lane, scope, first, plans[first.clip_seq])
        try:
            place = await self._place(scope, first, plans[first.clip_seq])
        except PlaceGone as gone:
            if not first.started and await self._became_rows(lane, None):
                return StepResult.MOVED
            await self._recorder.park(group, gone.reason, gone.detail)
            return StepResult.AGAIN
        stamp = await self._stamp(scope)
        if first.started:
            request = batch.chunk_request(
                scope, lane[2], first, plans[first.clip_seq], place, stamp
            )
        else:
            request = batch.batch_request(scope, lane[2], group, plans, place, stamp)
        placed = _otherwise(group, plans, place)
        outbox = await self._recorder.begin(request, group, placed, self._deps.run)
        return await self._send(lane, request, outbox, calls=place.reads, is_last=is_last)

    async def _plans(self, group: Sequence[QueuedDelivery]) -> dict[int, list[Chunk]]:
        found = await self._outbox.read(lanes.plans_of, [item.clip_seq for item in group])
        return {seq: plan_from_json(raw) for seq, raw in found.items()}

    async def _place(
        self, scope: Scope, first: QueuedDelivery, plan: Sequence[Chunk]
    ) -> InsertionPoint:
        if first.started:
            return await self._continuation.place(scope, first, plan)
        return await self._positions.resolve(scope, str(first.page_id), first.position)

    async def _create(
        self, lane: LaneKey, scope: Scope, first: QueuedDelivery, plan: Sequence[Chunk]
    ) -> StepResult:
        """Create the page that the lane waits for; stop its clips if the creation was given up."""
        if first.new_page is None:
            ref = str(first.page_ref)
            if await self._outbox.read(lanes.is_coming, scope, ref):
                return StepResult.NOTHING  # the creation of the page wakes this lane
            await self._recorder.park([first], "new_page_given_up", "The page was never created.")
            return StepResult.AGAIN
        try:
            parent = await self._new_pages.parent(scope, first.new_page)
        except ParentGone:
            detail = "The place for the new page is gone or no longer shared."
            await self._recorder.park([first], "parent_gone", detail)
            return StepResult.AGAIN
        if parent is None:
            return StepResult.NOTHING  # the creation of the parent wakes this lane
        request = batch.page_request(
            scope,
            lane[2],
            first,
            plan,
            parent.body,
            parent.title_property,
            await self._stamp(scope),
        )
        outbox = await self._recorder.begin(request, [first], {}, self._deps.run)
        return await self._send(lane, request, outbox, calls=parent.reads)

    async def _resume(self, lane: LaneKey, request: Request) -> StepResult:
        """Resolve a stored request: replay it under its key, or read the page."""
        if request.phase != "settle":
            # Also in phase "sending": the step that sent it ended before it stored the outcome.
            outbox = await self._header(request)
            return await self._send(lane, replace(request, maybe_sent=True), outbox, calls=0)
        look = await self._resolver.look(request)
        self._online()
        if look.wait_s is not None:
            self._throttle.hold_lane(lane, self._clock.boot() + look.wait_s)
            return StepResult.LATER
        if look.verdict is None:
            await self._recorder.undecided(request, look.why)
            return StepResult.AGAIN
        after = await self._apply(lane, request, look.verdict, look.calls)
        await self._resolver.tell(request, look.verdict)
        return after

    async def _send(
        self,
        lane: LaneKey,
        request: Request,
        outbox: str | None,
        *,
        calls: int,
        is_last: bool = False,
    ) -> StepResult:
        try:
            reply = await self._notion.send(
                request.scope,
                Call(
                    "PATCH" if request.kind == "append" else "POST",
                    request.path,
                    body=request.body,
                    key=request.key,
                    outbox=outbox,
                ),
            )
        except BrokerUnreachable as error:
            if error.sent or request.maybe_sent:
                await self._recorder.unconfirmed(request, "replay", None)
            else:
                await self._recorder.release(request, calls=calls)
            raise
        except (NotSignedIn, ReauthRequired):
            if not request.maybe_sent:
                await self._recorder.release(request, calls=calls)
            else:
                await self._recorder.unconfirmed(request, "replay", None)
            raise
        self._online()
        self._throttle.observe(lane, reply, self._clock.boot())
        self._answered(lane, reply)
        verdict = self._judge(request, reply)
        return await self._apply(lane, request, verdict, calls + 1, is_last=is_last)

    async def _header(self, request: Request) -> str | None:
        """Return the X-Outbox of a stored request; writes only before this process's first send."""
        run = self._deps.run
        is_recorded = await self._outbox.read(identity.is_recorded, request.scope.user_id, run)
        work = self._outbox.read if is_recorded else self._outbox.write
        return await work(identity.header, request, run)

    def _judge(self, request: Request, reply: Reply) -> outcome.Verdict:
        if request.kind == "create_page":
            return outcome.of_create(reply)
        anchored = request.after_id is not None or request.parent_id != request.lane
        return outcome.of_append(reply, expected=len(request.expected), anchored=anchored)

    async def _apply(
        self,
        lane: LaneKey,
        request: Request,
        verdict: outcome.Verdict,
        calls: int,
        *,
        is_last: bool = False,
    ) -> StepResult:
        match verdict:
            case outcome.Applied(ids):
                after = await self._applied(lane, request, ids, calls)
                return StepResult.NOTHING if is_last and after is StepResult.AGAIN else after
            case outcome.NotApplied():
                return await self._not_applied(lane, request, verdict, calls)
            case outcome.AnchorLost(message):
                return await self._anchor_lost(request, message, calls)
            case outcome.Attention("page_gone") | outcome.Refused() if _may_be_database(
                request, verdict
            ) and await self._became_rows(lane, request):
                return StepResult.MOVED
            case outcome.Refused():
                return await self._refused(request, verdict, calls)
            case outcome.Attention(reason, code, message):
                await self._recorder.close(request, State.NEEDS_ATTENTION, reason, (code, message))
                return StepResult.AGAIN
            case outcome.Behind(run, newest_clip):
                _log.warning("another copy of this queue has sent; its waiting clips are asked of")
                other = identity.Divergence(run, newest_clip)
                await self._recorder.behind(request, other, self._deps.run)
                return StepResult.MOVED
            case outcome.Replay(wait_s):
                await self._recorder.unconfirmed(request, "replay", None)
                self._back_off(lane, wait_s)
                return StepResult.LATER
            case outcome.Unknown(settle, code):
                seconds = {
                    "answered": self._timeouts.settle_answered_s,
                    "silent": self._timeouts.settle_silent_s,
                    "over": 0.0,
                }[settle]
                _log.info("outcome unknown", extra={"code": code, "settle_s": seconds})
                await self._recorder.unconfirmed(request, "settle", seconds)
                self._resolver.started(request.key, seconds)
                return StepResult.AGAIN

    async def _became_rows(self, lane: LaneKey, request: Request | None) -> bool:
        """Make rows of the lane's clips if its page is a database; return whether it is.

        ``request``: the append that Notion refused, if one was sent. Raises ReadFailed.
        """
        scope = Scope(lane[0], lane[1])
        if await self._pages.kind_of(scope, lane[2]) == "page":
            return False
        parent = await self._new_pages.container(scope, lane[2])
        if parent is not None:
            await self._recorder.make_rows(lane, parent, request)
        return parent is not None

    async def _applied(
        self, lane: LaneKey, request: Request, ids: Sequence[str], calls: int
    ) -> StepResult:
        self._tries.pop(lane, None)
        self.last_failure = None
        await self._recorder.applied(request, ids, calls)
        if request.kind == "create_page":
            return StepResult.MOVED  # the lane continues under the page's own id
        if ids:
            blocks = msgspec.json.decode(request.body)["children"]
            await self._positions.record_append(
                request.scope, request.lane, _place_of(request), list(ids), ids[-1], blocks
            )
        return StepResult.AGAIN

    async def _not_applied(
        self, lane: LaneKey, request: Request, verdict: outcome.NotApplied, calls: int
    ) -> StepResult:
        if verdict.proven:
            await self._recorder.release(request, calls=calls, burned=verdict.burned)
            return StepResult.AGAIN
        wait = verdict.wait_s if verdict.wait_s is not None else self._backoff(lane)
        if verdict.burned or verdict.wait_s is None:
            self._tries[lane] = self._tries.get(lane, 0) + 1
        until = self._clock.boot() + wait
        if verdict.pause is not None:
            self._throttle.hold(verdict.pause, lane, until)
        self._throttle.hold_lane(lane, until)
        if request.maybe_sent:
            # An earlier send of these bytes may have arrived, and this answer may not have looked
            # the key up: only a replay that is executed or remembered resolves it.
            await self._recorder.unconfirmed(request, "replay", None)
        else:
            error = (verdict.code, verdict.message)
            await self._recorder.release(
                request, calls=calls, burned=verdict.burned, wait_s=wait, error=error
            )
        return StepResult.LATER

    async def _anchor_lost(self, request: Request, message: str, calls: int) -> StepResult:
        if await self._recorder.anchor_lost(request) >= MAX_ANCHOR_LOSSES:
            if (
                len(request.members) > 1
            ):  # the place was resolved again each time, so one clip may be the cause
                await self._recorder.split(request, calls)
                return StepResult.AGAIN
            error = ("place_refused", message)
            await self._recorder.close(request, State.NEEDS_ATTENTION, "place_refused", error)
            return StepResult.AGAIN
        await self._recorder.release(request, calls=calls, burned=True)
        await self._positions.record_refusal(request.scope, request.lane, _place_of(request))
        return StepResult.AGAIN

    async def _refused(self, request: Request, verdict: outcome.Refused, calls: int) -> StepResult:
        if len(request.members) == 1:
            error = (verdict.code, verdict.message)
            await self._recorder.close(request, State.FAILED, "content_refused", error)
        else:
            await self._recorder.split(request, calls, verdict.block)
        # Lanes that wait for a page that is given up must look again.
        return StepResult.MOVED if request.kind == "create_page" else StepResult.AGAIN

    def _answered(self, lane: LaneKey, reply: Reply) -> None:
        """Keep the error of a refused call as the last failure."""
        if not reply.ok:
            code = reply.broker_code or reply.code or f"http_{reply.status}"
            self._failed(lane, code, reply.message)

    def _failed(self, lane: LaneKey, code: str, message: str) -> None:
        self.last_failure = Failure(lane[0], code, message, self._clock.now())

    def _read_failed(self, lane: LaneKey, reply: Reply) -> StepResult:
        """Wait: a read before the write was refused, and nothing was sent."""
        self._online()
        if reply.status in (429, 529):
            what = "user" if reply.broker_code == "limit_user" else "connection"
            if reply.broker_code != "limit_route":
                wait = reply.retry_after_s or self._timeouts.retry_base_s
                self._throttle.hold(what, lane, self._clock.boot() + wait)
        self._back_off(lane, reply.retry_after_s)
        return StepResult.LATER

    def _back_off(self, lane: LaneKey, wait_s: float | None) -> None:
        wait = wait_s if wait_s is not None else self._backoff(lane)
        self._tries[lane] = self._tries.get(lane, 0) + 1
        self._throttle.hold_lane(lane, self._clock.boot() + wait)

    def _backoff(self, lane: LaneKey) -> float:
        return backoff(
            self._tries.get(lane, 0),
            base_s=self._timeouts.retry_base_s,
            cap_s=self._timeouts.retry_cap_s,
            rng=self._deps.rng,
        )

    def _offline(self) -> None:
        """Let every lane wait: the broker cannot be reached. No attempt is counted."""
        if self._throttle.offline_until > self._clock.boot():
            return  # lanes that were in flight together fail together: count once
        wait = backoff(
            self._link_tries,
            base_s=self._timeouts.retry_base_s,
            cap_s=min(self._timeouts.offline_cap_s, self._timeouts.retry_cap_s),
            rng=self._deps.rng,
        )
        self._link_tries += 1
        self._throttle.offline_until = self._clock.boot() + wait

    def _online(self) -> None:
        self._link_tries = 0
        self._throttle.offline_until = 0.0

    async def _stamp(self, scope: Scope) -> batch.Stamp:
        made_at = await self._deps.server_now(scope)
        return batch.Stamp(new_key(made_at, self._deps.entropy), made_at)


def _otherwise(
    group: Sequence[QueuedDelivery], plans: Mapping[int, Sequence[Chunk]], place: InsertionPoint
) -> dict[int, tuple[str, str]]:
    """Return how and why deliveries (by seq) will stand otherwise than asked for."""
    if place.fell_back:
        return {item.seq: ("end_of_page", place.fell_back) for item in group}
    return {
        item.seq: ("splits_section", "own_headings")
        for item in group
        if not item.started and batch.splits_section(item, plans[item.clip_seq], place)
    }


def _may_be_database(request: Request, verdict: outcome.Attention | outcome.Refused) -> bool:
    """Return whether Notion may have refused the first append because the page is a database."""
    if request.kind != "append" or request.parent_id != request.lane or request.members[0].chunk:
        return False
    return not verdict.message.lower().startswith("body failed validation")


def _place_of(request: Request) -> InsertionPoint:
    return InsertionPoint(
        request.parent_id,
        request.after_id,
        "start" if request.edge == "start" else "end",
        request.level,
    )
