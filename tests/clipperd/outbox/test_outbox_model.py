"""The outbox against a model: users, Notion and crashes act in any order.

The real statements run on a real SQLite; the model is a list of clips for each page and a few
lines for each action. Notion is a list of blocks for each page that only grows.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from clipperd.content.chunks import Chunk, Plan
from clipperd.daemon.schema import STEPS
from clipperd.delivery import batch
from clipperd.delivery.batch import Stamp
from clipperd.errors import NotAllowedNow
from clipperd.model import InsertionPoint, Position, Scope, State
from clipperd.outbox import accept, actions, lanes, requests
from clipperd.outbox.records import Request, Target, plan_from_json
from tests.clipperd.drafts import a_draft
from tests.clipperd.outbox import transitions

SCOPE = Scope("user", "workspace")
PAGES = ("page one", "page two")
OPEN = ("queued", "sending", "retrying", "unconfirmed", "needs_attention")


@dataclass
class Model:
    """A clip as it should be."""

    number: int
    page: str
    parts: int
    state: str = "queued"
    reason: str | None = None
    done: int = 0
    blocks: list[str] = field(default_factory=list)


def _repeated(plan: Plan, parts: int) -> Plan:
    """A plan of so many chunks, each with the same blocks."""
    encoded = b"[" + b",".join([plan.encoded[1:-1]] * parts) + b"]"
    return Plan(plan.chunks * parts, encoded, plan.elements, plan.size_bytes)


class Outbox(RuleBasedStateMachine):
    """What can happen to a queue."""

    clips = Bundle("clips")

    def __init__(self) -> None:
        super().__init__()
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        self.connection.execute("PRAGMA foreign_keys=ON")
        for step in STEPS:
            step(self.connection)
        transitions.watch(self.connection)
        self.now = 1000.0
        self.numbers = itertools.count(1)
        self.model: dict[int, Model] = {}
        self.line: dict[str, list[int]] = {page: [] for page in PAGES}  # in order of turn
        self.at_notion: dict[str, list[str]] = {page: [] for page in PAGES}

    def teardown(self) -> None:
        self.connection.close()

    # --- people ---------------------------------------------------------------------------

    @rule(target=clips, page=st.sampled_from(PAGES), parts=st.sampled_from([1, 1, 1, 2, 3]))
    def accept(self, page: str, parts: int) -> int:
        number = next(self.numbers)
        draft = a_draft(SCOPE, page, f"clip {number}")
        draft = replace(draft, plan=_repeated(draft.plan, parts))
        ids = [f"delivery {number}"]
        self._in_turn(
            lambda: accept.accept(
                self.connection, draft, clip_id=f"clip {number}", ids=ids, now=self.now
            )
        )
        self.model[number] = Model(number, page, parts)
        self.line[page].append(number)
        return number

    @rule(number=clips)
    def cancel(self, number: int) -> None:
        clip = self.model[number]
        idle = clip.state in ("queued", "retrying", "needs_attention")
        idle = idle and clip.reason != "outcome_unknown"
        out = clip.state in ("sending", "unconfirmed") and clip.parts > 1
        self._try(idle or out, lambda rows: actions.cancel(self.connection, rows, self.now), number)
        if idle:
            clip.state, clip.reason = "canceled", None
        elif out:
            clip.reason = "stopping"

    @rule(number=clips)
    def retry(self, number: int) -> None:
        clip = self.model[number]
        can = clip.state in ("retrying", "needs_attention", "failed")
        can = can and clip.reason != "outcome_unknown"
        self._try(can, lambda rows: actions.retry(self.connection, rows, self.now), number)
        if can:
            clip.state, clip.reason = "queued", None

    @rule(number=clips, page=st.sampled_from(PAGES))
    def retarget(self, number: int, page: str) -> None:
        clip = self.model[number]
        can = self._is_unsent(clip)
        target = Target(Position(), page_id=page)
        place = (page, None, page)
        self._try(
            can,
            lambda rows: actions.retarget(self.connection, rows[0], target, place, self.now),
            number,
        )
        if can:
            self.line[clip.page].remove(number)
            self.line[page].append(number)
            clip.page, clip.state, clip.reason = page, "queued", None

    @rule(number=clips, how=st.sampled_from(["delivered", "resend"]))
    def resolve(self, number: int, how: str) -> None:
        clip = self.model[number]
        unknown = clip.state == "needs_attention" and clip.reason == "outcome_unknown"
        halfway = clip.state == "needs_attention" and bool(clip.done) and not unknown
        can = unknown or (halfway and how == "delivered")
        self._try(can, lambda rows: actions.resolve(self.connection, rows, how, self.now), number)
        if not can:
            return
        clip.reason = None
        if how == "resend":
            clip.state = "queued"
        elif halfway:
            clip.state = "delivered"
        else:
            clip.done += 1
            clip.state = "delivered" if clip.done == clip.parts else "queued"

    # --- the queue ------------------------------------------------------------------------

    @rule(page=st.sampled_from(PAGES), parked=st.sampled_from(["skip", "wait"]))
    def begin(self, page: str, parked: str) -> None:
        """Choose what goes next and put it on record."""
        if self._live(page) is not None:
            return
        line = lanes.waiting(self.connection, self._lane(page), parked=parked)
        group = batch.choose(line, parked=parked)
        numbers = [int(item.clip_id.split()[1]) for item in group]
        self._must_be_next(page, numbers, parked)
        if not group:
            return
        stamp = Stamp(f"key {next(self.numbers)}", self.now)
        plans = {item.clip_seq: self._plan(item.clip_seq) for item in group}
        place = InsertionPoint(page)
        if group[0].started:
            plan = plans[group[0].clip_seq]
            request = batch.chunk_request(SCOPE, page, group[0], plan, place, stamp)
        else:
            request = batch.batch_request(SCOPE, page, group, plans, place, stamp)
        self._in_turn(lambda: requests.begin(self.connection, request, group, {}, self.now))
        for number in numbers:
            self.model[number].state, self.model[number].reason = "sending", None

    @rule(page=st.sampled_from(PAGES))
    def is_applied(self, page: str) -> None:
        request = self._live(page)
        if request is None:
            return
        ids = [f"block {next(self.numbers)}" for _ in request.expected]
        self._in_turn(
            lambda: requests.applied(
                self.connection,
                request,
                ids,
                calls=1,
                title=None,
                now=self.now,
                keep_content_s=60.0,
            )
        )
        self.at_notion[page] += ids
        for number, first, count in self._members(request):
            clip = self.model[number]
            clip.done += 1
            clip.blocks += ids[first : first + count]
            after = "canceled" if clip.reason == "stopping" else "queued"
            clip.state = "delivered" if clip.done == clip.parts else after
            clip.reason = None

    @rule(page=st.sampled_from(PAGES), later=st.booleans())
    def is_not_applied(self, page: str, later: bool) -> None:
        """What may have been heard is proven absent, and goes at once; ``later``: was refused."""
        request = self._live(page)
        if request is None or (later and request.phase != "sending"):
            return
        at = self.now + 5 if later else None
        self._in_turn(
            lambda: requests.release(
                self.connection,
                request,
                retry_at=at,
                error=("rate_limited", "wait") if later else None,
                burned=False,
                calls=1,
                now=self.now,
            )
        )
        for number, _, _ in self._members(request):
            clip = self.model[number]
            clip.state = "retrying" if later else "queued"
            if clip.reason == "stopping":
                clip.state, clip.reason = "canceled", None

    @rule(page=st.sampled_from(PAGES), phase=st.sampled_from(["replay", "settle"]))
    def is_unknown(self, page: str, phase: str) -> None:
        request = self._live(page)
        if request is None:
            return
        self._in_turn(
            lambda: requests.mark_unconfirmed(
                self.connection, request, phase=phase, settle_s=None, now=self.now
            )
        )
        for number, _, _ in self._members(request):
            self.model[number].state = "unconfirmed"

    @rule(page=st.sampled_from(PAGES), refused=st.booleans())
    def is_over(self, page: str, refused: bool) -> None:
        """Notion refuses the content, or only a person can tell what became of it."""
        request = self._live(page)
        if request is None:
            return
        state = State.FAILED if refused else State.NEEDS_ATTENTION
        reason = "content_refused" if refused else "outcome_unknown"
        self._in_turn(
            lambda: requests.close(
                self.connection,
                request,
                state=state,
                reason=reason,
                error=("code", "words"),
                now=self.now,
            )
        )
        for number, _, _ in self._members(request):
            clip = self.model[number]
            is_stopped = refused and clip.reason == "stopping"
            clip.state, clip.reason = ("canceled", None) if is_stopped else (str(state), reason)

    @rule(page=st.sampled_from(PAGES))
    def is_gone(self, page: str) -> None:
        """The place is gone: what would have gone next waits for a person."""
        if self._live(page) is not None:
            return
        line = lanes.waiting(self.connection, self._lane(page), parked="skip")
        group = batch.choose(line, parked="skip")
        self._in_turn(
            lambda: requests.stop(self.connection, group, "heading_gone", "gone", self.now)
        )
        for item in group:
            clip = self.model[int(item.clip_id.split()[1])]
            clip.state, clip.reason = "needs_attention", "heading_gone"

    @rule()
    @precondition(lambda self: self.model)
    def crash(self) -> None:
        """What was being sent has an unknown outcome after a start."""
        self._in_turn(lambda: requests.recover(self.connection))
        for clip in self.model.values():
            if clip.state == "sending":
                clip.state = "unconfirmed"

    # --- what always holds ------------------------------------------------------------------

    @invariant()
    def every_clip_stands_where_the_model_says(self) -> None:
        rows = self.connection.execute(
            "SELECT clip.id, d.lane, d.state, d.reason, d.chunks_done, d.block_ids FROM delivery d"
            " JOIN clip ON clip.seq = d.clip_seq"
        ).fetchall()
        assert len(rows) == len(self.model)
        for row in rows:
            clip = self.model[int(row["id"].split()[1])]
            told = (row["lane"], row["state"], row["reason"], row["chunks_done"])
            assert told == (clip.page, clip.state, clip.reason, clip.done), clip
            assert row["block_ids"].count("block") == len(clip.blocks)

    @invariant()
    def a_request_speaks_for_exactly_what_is_under_way(self) -> None:
        for page in PAGES:
            request = self._live(page)
            members = [number for number, _, _ in self._members(request)] if request else []
            under_way = {
                number
                for number, clip in self.model.items()
                if clip.page == page and clip.state in ("sending", "unconfirmed")
            }
            assert set(members) == under_way

    @invariant()
    def states_change_only_as_they_are_drawn(self) -> None:
        assert transitions.made(self.connection) - transitions.drawn() == set()

    @invariant()
    def content_is_kept_as_long_as_it_may_be_needed(self) -> None:
        rows = self.connection.execute(
            "SELECT id, content_expires_at, EXISTS (SELECT 1 FROM content WHERE clip_seq = seq) AS"
            " there FROM clip"
        ).fetchall()
        for row in rows:
            finished = self.model[int(row["id"].split()[1])].state in ("delivered", "canceled")
            assert row["there"]
            assert row["content_expires_at"] is None or finished

    @invariant()
    def nothing_is_twice_and_no_clip_is_torn(self) -> None:
        for page, blocks in self.at_notion.items():
            assert len(blocks) == len(set(blocks))
            for clip in self.model.values():
                if clip.page == page and len(clip.blocks) == clip.done:
                    places = [blocks.index(block) for block in clip.blocks]
                    assert places == sorted(places)

    # --- how ---------------------------------------------------------------------------------

    def _must_be_next(self, page: str, numbers: list[int], parked: str) -> None:
        """Whoever goes is the first in line, and so on; a clip that has begun goes alone."""
        line = [n for n in self.line[page] if self.model[n].state in OPEN]
        if parked == "skip":
            line = [n for n in line if self.model[n].state != "needs_attention"]
        assert numbers == line[: len(numbers)]
        if line and not numbers:
            assert self.model[line[0]].state == "needs_attention"
        if len(numbers) > 1:
            assert all(self.model[n].parts == 1 for n in numbers)

    def _try(self, can: bool, work: Callable[[Sequence[sqlite3.Row]], object], number: int) -> None:
        rows = actions.rows_of(self.connection, SCOPE.user_id, f"clip {number}", None)
        try:
            self._in_turn(lambda: work(rows))
        except NotAllowedNow:
            assert not can
        else:
            assert can

    def _is_unsent(self, clip: Model) -> bool:
        idle = clip.state in ("queued", "retrying", "needs_attention", "failed")
        return idle and clip.reason != "outcome_unknown" and not clip.done

    def _in_turn(self, work: Callable[[], object]) -> None:
        """One transaction, as the writer makes it."""
        self.now += 1
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            work()
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _plan(self, clip_seq: int) -> list[Chunk]:
        row = self.connection.execute(
            "SELECT plan FROM content WHERE clip_seq = ?", (clip_seq,)
        ).fetchone()
        return plan_from_json(row["plan"])

    def _members(self, request: Request) -> list[tuple[int, int, int]]:
        found = []
        for member in request.members:
            row = self.connection.execute(
                "SELECT clip.id FROM delivery d JOIN clip ON clip.seq = d.clip_seq WHERE d.seq = ?",
                (member.delivery,),
            ).fetchone()
            found.append((int(row["id"].split()[1]), member.first, member.count))
        return found

    def _live(self, page: str) -> Request | None:
        return lanes.live_request(self.connection, self._lane(page))

    def _lane(self, page: str) -> tuple[str, str, str]:
        return (SCOPE.user_id, SCOPE.workspace_id, page)


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
