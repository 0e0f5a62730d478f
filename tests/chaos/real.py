"""Runs real processes: clips are posted while daemon and broker are killed and frozen, the line
between them is cut, the disk is full, Notion misbehaves, and people type.

Then everything restarts, the faults end, the queue drains, and the pages are compared with the
accepted clips. The seed decides clips, faults and the plan of kills. The exact moment of a kill
depends on the machine, so a failing seed repeats in kind, not exactly.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipperd.process.errors import ApiError, DaemonDown, DaemonUntrusted
from tests.chaos.full import FullDisk
from tests.chaos.line import BadLine
from tests.chaos.script import OUTLINE, Planned, Script, Weather
from tests.chaos.verdict import Count, Sent, judge
from tests.stack.notion import APPEND, Block, Notion, Page, text_of
from tests.stack.program import Program
from tests.stack.stack import Stack, running_after

DRAIN_S = 300.0  # the default limits let 20 writes a minute through
_PAGES = 12  # while one waits for a settle time, others go on
_AGAIN_S = 0.05
_ACCEPT_S = 60.0
# The daemon renews 30 s before the end, so every ten seconds, among the kills.
SETTINGS = {"BROKER_ACCESS_TOKEN_S": "40"}
# Faults after which the broker cannot know whether the write was applied.
AMBIGUOUS = (
    "5xx_before",
    "5xx_after",
    "uncommitted_503",
    "drop_before",
    "drop_after",
    "late",
    "truncated",
    "garbage",
    "html_502",
    "409",
)


@dataclass
class Result:
    """What one run came to."""

    seed: int
    clips: int
    seconds: float
    count: Count
    kills: dict[str, int]
    frozen: int
    full: str
    cuts: dict[str, int]
    faults: dict[str, int]
    ambiguous: int
    writes: int
    states: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        kills = ", ".join(f"{n} × {name}" for name, n in self.kills.items())
        return (
            f"seed {self.seed}: {self.clips} clips, {self.writes} writes,"
            f" {sum(self.faults.values())} faults at Notion, {sum(self.cuts.values())} of the line,"
            f" killed {kills}, {self.frozen} × frozen, disk {self.full};"
            f" {self.count}; {self.seconds:.0f} s"
        )


class Monkey:
    """Kills or freezes daemon and broker at moments drawn from its seed, and starts them again."""

    def __init__(self, stack: Stack, disk: FullDisk, rng: random.Random, calm_s: float) -> None:
        """``rng`` is its own; at most ``calm_s`` pass between a start and the next kill."""
        self._stack = stack
        self._disk = disk
        self._calm_s = calm_s
        self._rng = rng
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage, name="monkey")
        self.kills = {"daemon": 0, "broker": 0}
        self.frozen = 0
        self.filled = 0
        self.error: BaseException | None = None

    def __enter__(self) -> Monkey:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _rage(self) -> None:
        try:
            while not self._over.wait(self._rng.uniform(0.2, self._calm_s)):
                self._strike()
        except BaseException as error:
            self.error = error

    def _strike(self) -> None:
        draw = self._rng.random()
        if draw < 0.12:
            self._fill()
        elif draw < 0.3:
            self._freeze(self._rng.choice((self._stack.daemon, self._stack.broker)))
        elif draw < 0.6:
            self._kill({"daemon"})
        elif draw < 0.87:
            self._kill({"broker"})
        else:
            self._kill({"daemon", "broker"})

    def _kill(self, victims: set[str]) -> None:
        stack = self._stack
        if "daemon" in victims:
            stack.kill_daemon()
        if "broker" in victims:
            stack.kill_broker()
        time.sleep(self._rng.uniform(0.0, 0.4))
        if "broker" in victims:
            stack.open_broker()
        if "daemon" in victims:
            stack.open_daemon()
        for name in victims:
            self.kills[name] += 1

    def _fill(self) -> None:
        """The daemon's disk is full for a while."""
        self._disk.fill(self._stack.daemon.pid, self._stack.home)
        try:
            time.sleep(self._rng.uniform(0.3, 2.5))
        finally:
            self._disk.free()
        self.filled += 1

    def _freeze(self, victim: Program) -> None:
        """For longer than a lease (1.2 s); the daemon may be killed while the broker stands."""
        victim.freeze()
        try:
            time.sleep(self._rng.uniform(0.3, 2.5))
            if victim is self._stack.broker and self._rng.random() < 0.5:
                self._stack.kill_daemon()
                self._stack.open_daemon()
                self.kills["daemon"] += 1
        finally:
            victim.thaw()
        self.frozen += 1


class Person:
    """Types at the top and at the end of pages, and rewrites what is not a clip's."""

    def __init__(self, notion: Notion, rng: random.Random, pages: list[Page]) -> None:
        """``rng`` is its own."""
        self._notion = notion
        self._rng = rng
        self._pages = pages
        self.texts = {
            "Above everything",
            "Stood here before",
            "First of the inbox",
            "First of the deep",
            "First of later",
        }
        self._typed = 0

    def made(self, block: Block) -> bool:
        """Whether a person wrote this block."""
        return text_of(block) in self.texts

    def edit(self) -> None:
        """One edit."""
        page = self._rng.choice(self._pages)
        self._typed += 1
        text = f"typed {self._typed}"
        self.texts.add(text)
        draw = self._rng.random()
        if draw < 0.4:
            self._notion.edit("insert", page_id=page.id, after=page.blocks[0]["id"], text=text)
        elif draw < 0.8:
            self._notion.edit("insert", page_id=page.id, text=text)
        else:
            self._notion.edit("update", block_id=page.blocks[0]["id"], text=text)


@dataclass
class _Day:
    """One run under way: the programs, and all that is done to them."""

    stack: Stack
    line: BadLine
    disk: FullDisk
    rng: random.Random
    seed: int
    sent: list[Sent] = field(default_factory=list)
    ids: dict[int, str] = field(default_factory=dict)

    def play(self, clips: int, say: Callable[[str], None]) -> Result:
        """Post, while everything breaks; mend it, let the queue drain, compare the pages."""
        begun, rng, notion = time.monotonic(), self.rng, self.stack.notion
        pages = [notion.page(f"Chaos {number}", OUTLINE) for number in range(_PAGES)]
        person = Person(notion, random.Random(rng.random()), pages)
        weather = Weather.draw(rng)
        notion.misbehave(*weather.rules(), seed=self.seed)
        notion.forget_calls()
        self.line.is_bad = True
        monkey = Monkey(self.stack, self.disk, random.Random(rng.random()), weather.calm_s)
        with monkey:
            self._post(clips, Script(random.Random(rng.random()), pages), person, weather.pace_s)
        if monkey.error is not None:
            raise monkey.error
        self.line.is_bad = False
        faults = notion.fired()
        del faults["latency"]
        notion.behave()
        say(f"  accepted {len(self.ids)} in {time.monotonic() - begun:.0f} s; all is well again")
        self.stack.client.queue("retry")
        counts = self.stack.drained(DRAIN_S)
        writes = notion.calls().get(APPEND, 0)
        _states(self.stack, self.sent, self.ids)
        total = Count()
        for page in pages:
            total.add(judge(page.id, notion.blocks(page.id), self.sent, person.made))
        return Result(
            seed=self.seed,
            clips=clips,
            seconds=time.monotonic() - begun,
            count=total,
            kills=monkey.kills,
            frozen=monkey.frozen,
            full=f"full {monkey.filled} × ({self.disk.how})",
            cuts=dict(self.line.struck),
            faults=faults,
            ambiguous=sum(faults.get(kind, 0) for kind in AMBIGUOUS)
            + self.line.struck.total()
            + sum(monkey.kills.values())
            + monkey.frozen,
            writes=writes,
            states={name: n for name, n in counts.items() if isinstance(n, int) and n},
        )

    def _post(self, clips: int, script: Script, person: Person, pace_s: float) -> None:
        for number in range(clips):
            planned = script.clip(number)
            targets = [script.target(piece) for piece in planned.pieces]
            key = f"{self.seed}-{number}"
            self.ids[number] = accept(self.stack, key, targets, planned)["id"]
            self.sent += [Sent(number, p, planned.texts, planned.content) for p in planned.pieces]
            if self.rng.random() < 0.08:
                person.edit()
            if self.rng.random() < 0.7:  # else the next one comes in the same moment
                time.sleep(self.rng.uniform(0.0, pace_s))


def one_run(
    folder: Path,
    seed: int,
    clips: int,
    settings: Mapping[str, str],
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Play the run of ``seed`` and judge it. Its logs and files are left in ``folder``.

    ``settings`` of daemon and broker differ from those of the other tests on real processes.
    """
    rng = random.Random(seed)
    disk = FullDisk()
    with BadLine(random.Random(rng.random())) as line:

        def prepare(stack: Stack) -> None:
            line.target = ("127.0.0.1", int(stack.broker_url.rpartition(":")[2]))
            disk.prepare(stack.home)

        changes = {**settings, "CLIPPERD_BROKER_URL": line.url, "BROKER_PUBLIC_URL": line.url}
        try:
            with running_after(prepare, folder, changes) as stack:
                return _Day(stack, line, disk, rng, seed).play(clips, say)
        finally:
            disk.close()


def accept(
    stack: Stack, key: str, targets: list[dict[str, Any]], planned: Planned
) -> dict[str, Any]:
    """Post until it is accepted, as an app does: the same key makes it one clip."""
    end = time.monotonic() + _ACCEPT_S
    while True:
        try:
            return stack.clip(targets, planned.content, key=key)
        except (DaemonDown, DaemonUntrusted, ApiError):
            if time.monotonic() > end:
                raise
            time.sleep(_AGAIN_S)


def _states(stack: Stack, sent: list[Sent], ids: dict[int, str]) -> None:
    """Ask the daemon which deliveries wait for a person, or failed."""
    numbers = {clip_id: number for number, clip_id in ids.items()}
    states: dict[tuple[int, str], str] = {}
    for clip in stack.client.every_clip():
        for delivery in clip["deliveries"]:
            states[(numbers[clip["id"]], delivery["page_id"])] = delivery["state"]
    for item in sent:
        item.state = states[(item.number, item.piece.page_id)]
