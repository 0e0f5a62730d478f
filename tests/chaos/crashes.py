"""Looks for acknowledged clips in the file that a crash left: none may be missing."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from clipperd.broker.auth import GrantedWorkspace, User
from clipperd.client import Client
from clipperd.clock import SystemClock
from clipperd.daemon.schema import STEPS
from clipperd.process.errors import ApiError, DaemonDown, DaemonUntrusted
from clipperd.session.accounts import Accounts
from clipperd.storage.database import Database

WORKSPACE = "0b1f0c9e-1111-4a4a-8c8c-000000000001"
PAGE = "0b1f0c9e-3333-4a4a-8c8c-000000000003"
_LARGE = 150_000  # so that the log is folded back now and then
_AGAIN_S = 0.02


def know_an_account(home: Path) -> None:
    """Make the outbox of a person who has signed in here before, as the real code does."""

    home.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def remember() -> None:
        db = Database.open(home / "outbox.db", name="outbox", steps=STEPS, synchronous="FULL")
        try:
            workspace = GrantedWorkspace(WORKSPACE, "Home", None, "bot")
            await Accounts(db, SystemClock()).remember(
                User("user", "mira@example.com"), [workspace]
            )
        finally:
            db.close()

    asyncio.run(remember())


@dataclass
class Producer:
    """One app that posts numbered clips, one after the other; ``acked`` is the last answered."""

    name: str
    targets: list[dict[str, Any]]
    acked: int = 0
    posted: int = 0
    texts: dict[int, str] = field(default_factory=dict)

    def key(self, number: int) -> str:
        """The Idempotency-Key of a clip."""
        return f"{self.name}-{number}"

    def post(self, client: Client, rng: Random, large: float) -> None:
        """Post the next clip once; one that was not answered is posted again the next time."""
        number = self.acked + 1
        text = self.texts.get(number)
        if text is None:
            text = f"{self.name}-{number}" + " x" * (_LARGE // 2 if rng.random() < large else 0)
            self.texts[number] = text
        self.posted = number
        content = {"format": "text", "text": text}
        client.clip({"targets": self.targets, "content": content}, self.key(number))
        self.acked = number


@contextmanager
def posting(
    client: Client,
    producers: list[Producer],
    rng: Random,
    *,
    pause_s: float = 0.0,
    large: float = 0.0,
) -> Iterator[Callable[[], None]]:
    """Let every producer post in a thread of its own; what is yielded ends that.

    ``pause_s``: between two clips of a producer. ``large``: the share of clips of 150 KB.
    """
    over = threading.Event()

    def work(producer: Producer, dice: Random) -> None:
        while not over.is_set():
            try:
                producer.post(client, dice, large)
            except (ApiError, DaemonDown, DaemonUntrusted):
                over.wait(_AGAIN_S)
            else:
                over.wait(pause_s)

    threads = [
        threading.Thread(target=work, args=(each, Random(rng.random())), name=each.name)
        for each in producers
    ]
    for thread in threads:
        thread.start()
    try:
        yield over.set
    finally:
        over.set()
        for thread in threads:
            thread.join()


@dataclass
class Findings:
    """What the files had to say after all crashes."""

    crashes: int = 0
    acked: int = 0
    unanswered: int = 0
    lost: set[str] = field(default_factory=set)
    holes: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    @property
    def wrong(self) -> bool:
        """Whether a promise was broken."""
        return bool(self.lost or self.holes or self.damaged)

    def add(self, other: Findings) -> None:
        """Take in what was found in another file."""
        self.crashes += other.crashes
        self.acked += other.acked
        self.unanswered += other.unanswered
        self.lost |= other.lost
        self.holes |= other.holes
        self.damaged |= other.damaged

    def __str__(self) -> str:
        return (
            f"{self.crashes} crashes, {self.acked} clips acknowledged: {len(self.lost)} lost,"
            f" {len(self.holes)} holes, {len(self.damaged)} files damaged;"
            f" {self.unanswered} stored before they could be answered"
        )


def examine(file: Path, producers: list[Producer], findings: Findings) -> None:
    """Look for every acknowledged clip in the outbox as the crash has left it.

    ``producers`` are all that ever posted to it. A hole is a clip that is missing before one that
    the same producer posted later.
    """
    findings.crashes += 1
    with contextlib.closing(sqlite3.connect(file)) as connection:
        told = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if told != "ok":
            findings.damaged.add(f"crash {findings.crashes}: {told}")
        stored = {
            row[0]
            for row in connection.execute(
                "SELECT key FROM idempotency JOIN clip ON clip.id = clip_id"
                " JOIN content ON content.clip_seq = clip.seq"
            )
        }
    findings.acked = sum(producer.acked for producer in producers)
    findings.unanswered = 0
    for producer in producers:
        present = [n for n in range(1, producer.posted + 1) if producer.key(n) in stored]
        lost = set(range(1, producer.acked + 1)) - set(present)
        findings.lost |= {producer.key(n) for n in lost}
        if present != list(range(1, len(present) + 1)):
            findings.holes.add(f"{producer.name}: {present[-5:]}")
        findings.unanswered += len([n for n in present if n > producer.acked])


def wait(seconds: float) -> None:
    """Let the programs run for so long: the moment of a crash is drawn, not awaited."""
    time.sleep(seconds)
