"""Store the outcome of a request, each in one durable transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from clipperd.clock import Clock
from clipperd.delivery.ports import Timeouts
from clipperd.delivery.resolver import OutcomeResolver
from clipperd.model import State
from clipperd.outbox import identity, requests, rows
from clipperd.outbox.identity import Divergence, Run
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import LaneKey, QueuedDelivery, Request
from clipperd.pages.pages import Pages

_WHY = {
    "several_runs": "The same blocks stand there more than once.",
    "other_blocks": "Blocks that may be this clip stand there, but not as it was sent.",
    "several_pages": "Several new pages of this name stand there.",
    "contested": "It stands there, but another program of yours may have written it.",
    "too_long": "The page is too long to search for it.",
    "page_gone": "The page can no longer be read.",
}


class Recorder:
    """Stores each transition of a request; the outbox publishes the changed clips."""

    def __init__(
        self,
        outbox: Outbox,
        pages: Pages,
        clock: Clock,
        timeouts: Timeouts,
        resolver: OutcomeResolver,
    ) -> None:
        """``resolver`` forgets a request that is resolved."""
        self._outbox = outbox
        self._pages = pages
        self._clock = clock
        self._timeouts = timeouts
        self._resolver = resolver

    async def begin(
        self,
        request: Request,
        group: Sequence[QueuedDelivery],
        placed: Mapping[int, tuple[str, str]],
        run: Run,
    ) -> str | None:
        """Store and number the request before it is sent; return its ``X-Outbox``.

        Raises requests.Changed.

        ``placed``: how and why deliveries (by seq) will stand otherwise than asked for.
        """
        now, outbox = self._clock.now(), None

        def begin(connection: sqlite3.Connection) -> list[int]:
            nonlocal outbox
            changed = requests.begin(connection, request, group, placed, now)
            identity.number(connection, request, run)
            outbox = identity.header(connection, request, run)
            return changed

        await self._outbox.change(begin)
        return outbox

    async def applied(self, request: Request, ids: Sequence[str], calls: int) -> None:
        """Store the created ids, close the complete deliveries, count the page's use."""
        self._resolver.forget(request.key)
        scope = request.scope
        page_id = ids[0] if request.kind == "create_page" else request.lane
        await self._outbox.change(
            requests.applied,
            request,
            ids,
            calls=calls,
            title=await self._pages.title_of(scope, page_id),
            now=self._clock.now(),
            keep_content_s=self._timeouts.keep_content_s,
        )
        await self._pages.report_use(scope, page_id)

    async def release(
        self,
        request: Request,
        *,
        calls: int,
        burned: bool = False,
        wait_s: float | None = None,
        error: tuple[str, str] | None = None,
    ) -> None:
        """Requeue the deliveries, immediately or after ``wait_s``: nothing was applied."""
        self._resolver.forget(request.key)
        now = self._clock.now()
        retry_at = None if wait_s is None else now + wait_s
        await self._outbox.change(
            requests.release,
            request,
            retry_at=retry_at,
            error=error,
            burned=burned,
            calls=calls,
            now=now,
        )

    async def unconfirmed(self, request: Request, phase: str, settle_s: float | None) -> None:
        """Store that the outcome is unknown; ``phase``: how it will be resolved."""
        await self._outbox.change(
            requests.mark_unconfirmed, request, phase, settle_s, self._clock.now()
        )

    async def anchor_lost(self, request: Request) -> int:
        """Count that Notion refused the place; return the highest count of a member."""
        return await self._outbox.write(requests.anchor_lost, request)

    async def split(self, request: Request, calls: int, block: int | None = None) -> None:
        """Split a refused batch.

        The clip of the ``block`` that Notion named goes alone from now on. If Notion named none,
        the batch is halved, to find the refused clip.
        """
        blamed = [m for m in request.members if block in range(m.first, m.first + m.count)]
        members = blamed or request.members
        cap = 1 if blamed else (len(members) + 1) // 2
        await self._outbox.write(requests.cap_batch, members, cap)
        await self.release(request, calls=calls)

    async def close(
        self, request: Request, state: State, reason: str, error: tuple[str, str]
    ) -> None:
        """Close the request: its members failed or need the user's attention."""
        self._resolver.forget(request.key)
        now = self._clock.now()
        await self._outbox.change(
            requests.close, request, state=state, reason=reason, error=error, now=now
        )

    async def make_rows(
        self, lane: LaneKey, parent: Mapping[str, str], request: Request | None
    ) -> None:
        """Turn the lane's unsent deliveries into rows: its page turned out to be a database."""
        if request is not None:
            self._resolver.forget(request.key)
        await self._outbox.change(rows.make_rows, lane, parent, request, self._clock.now())

    async def behind(self, request: Request, other: Divergence, run: Run) -> None:
        """Give up the file's id, and ask about the clips that another copy may have sent."""
        self._resolver.forget(request.key)
        await self._outbox.change(identity.diverge, request, other, run, self._clock.now())

    async def undecided(self, request: Request, why: str) -> None:
        """Ask the user whether the clip arrived: the page does not tell."""
        error = ("outcome_unknown", _WHY.get(why, why))
        await self.close(request, State.NEEDS_ATTENTION, "outcome_unknown", error)

    async def park(self, group: Sequence[QueuedDelivery], reason: str, detail: str) -> None:
        """Stop these deliveries until the user decides."""
        now = self._clock.now()
        await self._outbox.change(requests.stop, group, reason, detail, now)
