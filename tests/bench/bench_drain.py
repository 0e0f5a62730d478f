"""Measures how fast a full queue drains, and how many Notion calls that takes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.measure import machine
from tests.contract.pacing_simulation import BROKER, BUCKET, PATIENT, UNTOLD, WINDOW, measured
from tests.stack.notion import APPEND
from tests.stack.stack import UNDER_WAY, Stack, running

_ONE_PAGE = 500
_MANY = 200
_PAGES = 20
_LOOK_S = 0.05
_PATIENCE_S = 180.0
_PACED = {
    "20 in any minute": (BROKER, 20 / 60, 10),
    "20 in any minute, a broker that waits": (PATIENT, 20 / 60, 10),
    "2.5 a second, 6 at once": (BUCKET, 2.5, 4),
    "180 in any minute": (WINDOW, 3.0, 5),
    "180 in any minute, told by a 429 alone": (UNTOLD, 3.0, 10),
}


def run() -> list[str]:
    """Lines for ``make bench``: sandbox without limits, the real broker with its limits scaled;
    then what is used of limits that bind, on virtual time."""
    return _unbound() + [_paced(name) for name in _PACED]


def _paced(name: str) -> str:
    limits, per_second, minutes = _PACED[name]
    pages = int(per_second * 60 * minutes / 4) + 10
    with tempfile.TemporaryDirectory() as folder:
        seen = measured(Path(folder), limits, minutes=minutes, pages=pages, each=5)
    used = seen.used(per_second, 0, 60.0 * minutes)
    return (
        f"drain: {name}: {used:.1%} of the limit used in {minutes} minutes,"
        f" {seen.share_refused:.2%} of {seen.refused + len(seen.taken)} writes refused"
    )


def _unbound() -> list[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), CLIPPERD_LOG_LEVEL="info") as stack,
    ):
        lines = [f"drain: sandbox, broker and daemon as processes, {machine()}"]
        page = stack.notion.page("One", "Top\n# Inbox\nfirst\n# Later\nkept")
        stack.client.outline(page.id, "auto")
        section = {"type": "end_of_section", "heading_id": page.heading("Inbox")}
        one = [{"page_id": page.id, "position": section}]
        lines.append(_drained(stack, f"{_ONE_PAGE} clips to one section", [one] * _ONE_PAGE))
        pages = [stack.notion.page(f"Page {n}", "first") for n in range(_PAGES)]
        for each in pages:
            stack.client.outline(each.id, "auto")
        many = [[{"page_id": pages[n % _PAGES].id}] for n in range(_MANY)]
        lines.append(_drained(stack, f"{_MANY} clips to {_PAGES} pages", many))
        return lines


def _drained(stack: Stack, name: str, targets: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    with stack.paused():
        asyncio.run(_post(stack, targets))
        stack.notion.forget_calls()
        begun = time.monotonic()
    end = begun + _PATIENCE_S
    while any(stack.client.status()["queue"][state] for state in UNDER_WAY):
        assert time.monotonic() < end, "the queue does not empty"
        time.sleep(_LOOK_S)
    took = time.monotonic() - begun
    calls = stack.notion.calls()
    every, appends = sum(calls.values()), calls.get(APPEND, 0)
    return (
        f"drain: {name}: {len(targets) / took:.0f} clips/s, {every} Notion calls of which"
        f" {appends} append, {len(targets) / every:.1f} clips a call, {every / took:.1f} calls/s"
    )


async def _post(stack: Stack, targets: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Four clients post; an order among them does not matter here."""
    mine = stack.client.hello()
    headers = {"Authorization": f"Bearer {mine.token}"}
    left = iter(targets)
    async with aiohttp.ClientSession(headers=headers) as session:

        async def client() -> None:
            for one in left:
                body = {"targets": one, "content": {"format": "text", "text": "A clipped line."}}
                async with session.post(mine.url + "/v1/clips", json=body) as response:
                    assert response.status == 202, await response.text()

        await asyncio.gather(*(client() for _ in range(4)))
