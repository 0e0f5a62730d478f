"""Fills stores to the size of a long life, with the code that fills them in production."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random

from clipperd.broker.auth import GrantedWorkspace, User
from clipperd.clock import SystemClock, rfc3339
from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.model import Scope
from clipperd.outbox import accept
from clipperd.outbox.records import Draft
from clipperd.pages import store
from clipperd.pages.entries import Record
from clipperd.process import endpoint
from clipperd.process.endpoint import Endpoint
from clipperd.session.accounts import Accounts
from clipperd.settings.locations import locate, secure
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from tests.clipperd.drafts import a_draft

SCOPE = Scope("user-1", "33333333-3333-4333-8333-333333333333")
WORDS = re.findall(
    r"\w+",
    """meeting notes project reading list travel recipe budget garden review draft weekly plan team
    handbook ideas research paper clip archive invoice contract holiday kitchen music training
    launch roadmap interview customer feedback sprint retro design system report quarter summary
    journal inventory""",
)
_SYLLABLES = re.findall(
    r"\w+", "ba co der en fi gra ho ist ka lo mi nor on pe qui ro sta ti ul ver"
)
_NAMES = 20_000
CJK = "会議議事録週次計画旅行予算買物資料研究報告日記料理設計"
_EPOCH = 1_790_000_000.0
_PATIENCE_S = 60.0


def page_id(number: int) -> str:
    """The id of the page with this number; the same in every run."""
    return str(uuid.UUID(int=0x5EED << 112 | 4 << 76 | 8 << 60 | number, version=4))


def pages(count: int) -> Iterator[Record]:
    """``count`` pages: one in ten at the top, the others below an earlier one."""
    chance = Random(7)
    for number in range(count):
        parent = None if number % 10 == 0 else page_id(number - number % 10)
        yield Record(
            id=page_id(number),
            kind="data_source" if number % 200 == 7 else "page",
            title=_title(chance, number),
            url=f"https://www.notion.so/{page_id(number).replace('-', '')}",
            icon={"type": "emoji", "emoji": "📄"},
            parent={"type": "page_id", "page_id": parent} if parent else {"type": "workspace"},
            parent_id=parent,
            last_edited_time=rfc3339(_EPOCH - 60.0 * number),
            in_trash=False,
        )


def _title(chance: Random, number: int) -> str:
    """Two or three frequent words, often a rare name or a number; one in twenty is Japanese."""
    draw = chance.random()
    if draw < 0.05:
        return "".join(chance.choices(CJK, k=chance.randint(3, 8)))
    words = chance.sample(WORDS, chance.choice((1, 2, 2, 3)))
    if draw < 0.6:
        name = Random(int(_NAMES * chance.random() ** 2))
        words.insert(0, "".join(name.choices(_SYLLABLES, k=3)))
    if draw > 0.7:
        words.append(str(number))
    return " ".join(words).capitalize()


def fill_pages(connection: sqlite3.Connection, scope: Scope, count: int) -> None:
    """An index that is complete and fresh."""
    now = SystemClock().now()
    store.upsert(connection, scope, pages(count), now)
    done = store.IndexRow(phase="complete", newest=rfc3339(_EPOCH), refreshed_at=now)
    store.put_index_row(connection, scope, done)


def draft(scope: Scope, page: str, text: str = "A line that was clipped.") -> Draft:
    """One paragraph for the end of a page."""
    return a_draft(scope, page, text)


def fill_clips(connection: sqlite3.Connection, scope: Scope, count: int, *, queued: int) -> None:
    """``count`` clips to a thousand pages, the last ``queued`` of them still to be sent."""
    for number in range(count):
        one = draft(scope, page_id(number % 1000), f"Clip {number} about {WORDS[number % 40]}.")
        accept.accept(
            connection, one, clip_id=_id(number), ids=[_id(number + (1 << 40))], now=_EPOCH + number
        )
    connection.execute(
        "UPDATE delivery SET state = 'delivered', chunks_done = 1, delivered_at = created_at + 1,"
        " block_ids = json_array(id) WHERE seq <= (SELECT max(seq) FROM delivery) - ?",
        (queued,),
    )


def _id(number: int) -> str:
    return uuid.UUID(int=number).hex


def open_outbox(path: Path) -> Database:
    """outbox.db as the daemon opens it."""
    return Database.open(path, name="outbox", steps=STEPS, synchronous="FULL")


def furnish_home(home: Path, count: int) -> None:
    """The files of a daemon that was signed in once and knows ``count`` pages."""
    places = locate(home)
    secure(places)
    asyncio.run(_furnish(places.outbox, places.cache, count))


async def _furnish(outbox_file: Path, cache_file: Path, count: int) -> None:
    outbox = open_outbox(outbox_file)
    cache = open_cache(cache_file, CACHE_STEPS)
    try:
        accounts = Accounts(outbox, SystemClock())
        workspace = GrantedWorkspace(SCOPE.workspace_id, "Home", None, "bot")
        await accounts.remember(User(SCOPE.user_id, "mira@example.com", "Mira"), [workspace])
        await cache.write(lambda c: fill_pages(c, SCOPE, count))
    finally:
        cache.close()
        outbox.close()


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """A child's environment: compiled modules kept in ``folder``, no settings of this machine."""
    base = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CLIPPERD_", "BROKER_", "PYTHON"))
    }
    return base | {"PYTHONPYCACHEPREFIX": str(folder / "compiled")} | changes


def published(home: Path, child: subprocess.Popen[bytes], look_s: float = 0.01) -> Endpoint:
    """Where the daemon ``child`` of ``home`` answers, once it does."""
    end = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < end:
        found = endpoint.read(home / "endpoint.json")
        if found is not None and found.pid == child.pid:
            return found
        assert child.poll() is None, "the daemon ended"
        time.sleep(look_s)
    raise AssertionError("the daemon did not become ready")
