"""Measures lists, searches, outlines and the status in large stores."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from clipperd.clock import SystemClock
from clipperd.daemon.schema import CACHE_STEPS
from clipperd.outbox import lanes, views
from clipperd.outbox.views import Filter
from clipperd.outline import store as outlines
from clipperd.outline.outlines import Outlines
from clipperd.outline.tree import Node, Tree
from clipperd.pages.pages import Pages
from clipperd.storage.database import Database, Store
from clipperd.storage.disposable import Cache, open_cache
from tests.bench import filled_stores
from tests.bench.measure import machine, median, quantile, spread
from tests.bench.queries import queries

_PAGES = 100_000
_CLIPS = 50_000
_QUEUED = 5_000
_BLOCKS = 1_000
_EACH = 60
_ROUNDS = 3  # of all queries, measured
Ask = Callable[[int], Awaitable[object]]


def run() -> list[str]:
    """Lines for ``make bench``: as multiples of one hop to the database's thread and back."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[str]:
    outbox, cache = (
        filled_stores.open_outbox(folder / "outbox.db"),
        open_cache(folder / "cache.db", CACHE_STEPS),
    )
    try:
        await cache.write(lambda c: filled_stores.fill_pages(c, filled_stores.SCOPE, _PAGES))
        await cache.write(
            lambda c: outlines.save(c, filled_stores.SCOPE, filled_stores.page_id(0), _outline())
        )
        await outbox.write(
            lambda c: filled_stores.fill_clips(c, filled_stores.SCOPE, _CLIPS, queued=_QUEUED)
        )
        questions = {**_of_pages(cache, outbox), **_of_clips(outbox)}
        times: dict[str, list[float]] = {name: [] for name in questions}
        hops: list[float] = []
        for number in range(_EACH):
            hops.append(await _timed(lambda _: cache.read(lambda _: None), number))
            for name, ask in questions.items():
                times[name].append(await _timed(ask, number))
        searches = await _searches(cache, outbox)
    finally:
        cache.close()
        outbox.close()
    hop = median(hops)
    lines = [
        f"lists: {_PAGES:,} pages, {_CLIPS:,} clips, {_QUEUED:,} queued; one hop to the"
        f" database's thread {hop * 1000:.2f} ms, {machine()}"
    ]
    for name, found in times.items():
        middle = median(found) * 1000
        lines.append(f"lists: {name}: {middle:.1f} ms; {spread(found, hop, 'hop')}")
    return lines + searches


async def _searches(cache: Cache, outbox: Database) -> list[str]:
    """What people type, of every kind, in an order by chance, after one round to warm up."""
    pages = Pages(cache, outbox, _NoNotion(), SystemClock(), lambda *_: None)
    kinds = queries(_PAGES)
    asked = [(kind, text, "") for kind, texts in kinds.items() for text in texts]
    asked += [("for databases", text, "database") for text in kinds["letter by letter"]]
    Random(3).shuffle(asked)
    took: dict[str, list[tuple[float, float]]] = {kind: [] for kind, *_ in asked}
    slowest = (0.0, "")
    for number in range(_ROUNDS + 1):
        for kind, text, only in asked:
            begun, worked = time.perf_counter(), time.process_time()
            await pages.search(filled_stores.SCOPE, text, only)
            work_ms = (time.process_time() - worked) * 1000
            if number:
                took[kind].append(((time.perf_counter() - begun) * 1000, work_ms))
                slowest = max(slowest, (work_ms, text))
    lines = [f"lists: search, most CPU: {slowest[0]:.1f} ms for {slowest[1]!r}, {machine()}"]
    every = [both for each in took.values() for both in each]
    for kind, times in {f"all {len(every):,}": every, **took}.items():
        walls, works = zip(*times, strict=True)
        lines.append(
            f"lists: search, {kind}: p50 {quantile(walls, 0.5):.1f} ms, p99"
            f" {quantile(walls, 0.99):.1f} ms; CPU p50 {quantile(works, 0.5):.1f} ms, p99"
            f" {quantile(works, 0.99):.1f} ms"
        )
    return lines


async def _timed(ask: Ask, number: int) -> float:
    begun = time.perf_counter()
    await ask(number)
    return time.perf_counter() - begun


class _NoNotion:
    """Nothing here may ask Notion."""

    async def send(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a list asked Notion")


def _of_pages(cache: Store, outbox: Database) -> dict[str, Ask]:
    clock = SystemClock()
    pages = Pages(cache, outbox, _NoNotion(), clock, lambda *_: None)
    outline = Outlines(cache, _NoNotion(), clock, lambda *_: None)
    at = filled_stores.SCOPE
    typed = ("meet", "budget rev", "holiday kitchen", "launch 777", "p", "pl", "recip")

    async def deep(number: int) -> None:
        first = await pages.list(at, "all", limit=100)
        await pages.list(at, "all", limit=100, cursor=first.next_cursor)

    return {
        "recent pages, 50": lambda _: pages.list(at, "recent", limit=50),
        "all pages by title, two lists of 100": deep,
        "search, words as typed": lambda n: pages.search(at, typed[n % len(typed)]),
        "search, a typo": lambda n: pages.search(at, ("meetnig", "budegt", "kitchne")[n % 3]),
        "search, nothing matches": lambda n: pages.search(at, f"zzqx{n}"),
        f"outline of {_BLOCKS:,} blocks": lambda _: outline.get(
            at, filled_stores.page_id(0), "cached"
        ),
        "index status": lambda _: pages.index_status(at),
    }


def _of_clips(outbox: Database) -> dict[str, Ask]:
    user = filled_stores.SCOPE.user_id

    def listed(limit: int = 20, **chosen: Any) -> Ask:
        wanted = Filter(**chosen)
        return lambda _: outbox.read(
            lambda c: views.page(c, user, wanted, limit=limit, cursor=None)
        )

    lane = (*_lane(), filled_stores.page_id(_QUEUED % 1000))
    return {
        "newest clips, 20": listed(),
        "newest clips, 100": listed(limit=100),
        "delivered clips, 20": listed(states=("delivered",)),
        "clips that need attention (none)": listed(states=("needs_attention",)),
        "clips of one page": listed(page_id=filled_stores.page_id(5)),
        "clips with a word (none)": listed(text="nowhere"),
        "counts for the status": lambda _: outbox.read(lambda c: views.counts(c, user)),
        "last error": lambda _: outbox.read(lambda c: views.last_error(c, user)),
        "open lanes": lambda _: outbox.read(lambda c: lanes.open_lanes(c, user)),
        "what waits in a lane": lambda _: outbox.read(lambda c: lanes.waiting(c, lane)),
        "last block of a page": lambda _: outbox.read(lambda c: lanes.last_block(c, lane)),
    }


def _lane() -> tuple[str, str]:
    return filled_stores.SCOPE.user_id, filled_stores.SCOPE.workspace_id


def _outline() -> outlines.Snapshot:
    page = filled_stores.page_id(0)
    nodes = tuple(
        Node(
            id=filled_stores.page_id((1 << 30) + n), type="heading_2", level=2, text=f"Section {n}"
        )
        if n % 10 == 0
        else Node(id=filled_stores.page_id((1 << 30) + n), type="paragraph")
        for n in range(_BLOCKS)
    )
    now = SystemClock().now()
    return outlines.Snapshot(Tree(page, {page: nodes}), "Notes", None, now, now, now)
