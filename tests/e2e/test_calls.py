"""The number of Notion calls for each action of a user, counted at the sandbox (without push)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from clipperd.client import items
from tests.stack.notion import APPEND, LIST, PAGE, SEARCH, Page, text_of
from tests.stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TABLE = "table: Calls that Notion heard (docs/architecture.md says why)"
OUTLINE = "Top\n# Inbox\nfirst\n# Later\nkept"
PARALLEL = 3
"""Pages written to at the same time: of ``max_parallel_pages`` (4) one is kept for ``high``."""
FIVE = ("Reading list", "Recipes", "Travel", "Team handbook", "Project Clipper")
Row = Callable[[int, str, int, str], None]


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Row:
    """Write one line of the table: number, operation, calls here, calls of the old back end."""

    def write(number: int, operation: str, calls: int, old: str) -> None:
        record_property(TABLE, f"{number:2}  {operation:<58} {calls:>3}   (before: {old})")

    return write


@pytest.fixture
def page(stack: Stack) -> Page:
    """A page whose outline the daemon knows, and a count that starts at zero."""
    made = stack.notion.page(f"Counted {time.monotonic_ns()}", OUTLINE)
    stack.client.outline(made.id, "auto")
    stack.notion.forget_calls()
    return made


def at(page: Page, kind: str, heading: str = "Inbox") -> dict[str, Any]:
    return {"type": kind, "heading_id": page.heading(heading)}


def heard(stack: Stack) -> dict[str, int]:
    """The calls since the last look; the next look begins at zero."""
    calls = stack.notion.calls()
    stack.notion.forget_calls()
    return calls


def blocks(count: int) -> dict[str, Any]:
    texts = [{"type": "text", "text": {"content": f"line {n}"}} for n in range(count)]
    made = [{"type": "paragraph", "paragraph": {"rich_text": [text]}} for text in texts]
    return {"format": "blocks", "blocks": made}


def restarted(stack: Stack) -> None:
    """kill -9, start, and wait until the page list has been refreshed behind."""
    before = stack.client.status()["index"]["refreshed_at"]
    stack.restart_daemon()
    stack.until(
        lambda: stack.client.status()["index"]["refreshed_at"] not in (None, before),
        "the page list is not refreshed",
    )


def test_listing_pages_after_a_restart_costs_no_call(stack: Stack, row: Row) -> None:
    known = items(stack.client.pages(view="all", limit=100))
    stack.close_broker()
    stack.kill_daemon()
    stack.notion.forget_calls()
    stack.open_daemon()
    listed = items(stack.client.pages(view="all", limit=100))
    calls = heard(stack)
    stack.open_broker()
    stack.client.queue("retry")
    assert len(listed) == len(known) >= 30
    assert calls == {}
    row(1, "start, until the page list can be used", 0, "3–20")


def test_the_refresh_behind_a_restart_is_one_call(stack: Stack, row: Row) -> None:
    stack.notion.forget_calls()
    restarted(stack)
    assert heard(stack) == {SEARCH: 1}
    row(2, "start, refresh in the background when nothing changed", 1, "all again")


def test_verifying_a_known_outline_is_one_call(stack: Stack, row: Row) -> None:
    page_id = stack.notion.page_titles()["Reading list"]
    stack.client.outline(page_id, "auto")
    stack.notion.forget_calls()
    outline = stack.client.outline(page_id, "verified")
    assert heard(stack) == {PAGE: 1}
    assert (outline["source"], outline["notion_calls"]) == ("verified", 1)
    row(3, "outline of a known page", 1, "1–5")


def test_five_known_outlines_are_at_most_five_calls(stack: Stack, row: Row) -> None:
    ids = [stack.notion.page_titles()[title] for title in FIVE]
    asked = {"page_ids": ids}
    stack.client.ask("POST", "/v1/outlines", body=asked)
    stack.notion.forget_calls()
    results = stack.client.ask("POST", "/v1/outlines", body=asked)["results"]
    assert all("outline" in result for result in results)
    calls = heard(stack)
    assert calls == {PAGE: 5}
    row(4, "outlines of 5 known pages", sum(calls.values()), "5–25")


def test_a_clip_at_the_end_of_a_page_is_one_call(stack: Stack, page: Page, row: Row) -> None:
    stack.delivered(stack.clip(page.id, "hello"))
    assert heard(stack) == {APPEND: 1}
    assert stack.notion.texts(page.id)[-1] == "hello"
    row(5, "clip at the end of a page", 1, "1")


def test_a_clip_after_a_heading_is_one_call(stack: Stack, page: Page, row: Row) -> None:
    stack.delivered(stack.clip(page.id, "hello", at(page, "after_heading")))
    assert heard(stack) == {APPEND: 1}
    assert stack.notion.section(page.id, "Inbox") == ["hello", "first"]
    row(6, "clip after a heading", 1, "2–3")


def test_a_repeated_clip_at_the_end_of_a_section_is_at_most_two_calls(
    stack: Stack, page: Page, row: Row
) -> None:
    stack.delivered(stack.clip(page.id, "one", at(page, "end_of_section")))
    restarted(stack)  # nothing vouches for the section's end any more
    stack.notion.forget_calls()
    stack.delivered(stack.clip(page.id, "two", at(page, "end_of_section")))
    assert heard(stack) == {LIST: 1, APPEND: 1}
    row(7, "clip at the end of a section, again, later", 2, "2–8")
    stack.delivered(stack.clip(page.id, "three", at(page, "end_of_section")))
    assert heard(stack) == {APPEND: 1}
    row(8, "clip at the end of a section, again, within seconds", 1, "2–8")
    assert stack.notion.section(page.id, "Inbox") == ["first", "one", "two", "three"]


def test_a_clip_to_five_pages_is_five_calls_in_one_burst(stack: Stack, row: Row) -> None:
    pages = [stack.notion.page(f"Burst {n}") for n in range(5)]
    stack.notion.misbehave({"kind": "hold", "route": APPEND})
    stack.notion.forget_calls()
    # The clip is accepted although Notion answers nobody yet.
    clip = stack.clip([{"page_id": each.id} for each in pages], "to all")
    stack.until(
        lambda: stack.notion.fired() == {"hold": PARALLEL}, "the pages do not go in parallel"
    )
    stack.notion.behave()
    stack.delivered(clip)
    assert heard(stack) == {APPEND: 5}
    assert [stack.notion.texts(each.id) for each in pages] == [["to all"]] * 5
    row(9, "clip to 5 pages, in one burst", 5, "5–10")


@pytest.mark.parametrize(
    ("kind", "before", "calls", "number"),
    [
        ("after_heading", [], {APPEND: 3}, 10),
        ("end_of_section", ["first"], {LIST: 1, APPEND: 3}, 11),
    ],
)
def test_250_blocks_are_three_writes_and_stay_together(
    stack: Stack,
    page: Page,
    row: Row,
    kind: str,
    before: list[str],
    calls: dict[str, int],
    number: int,
) -> None:
    stack.delivered(stack.clip(page.id, blocks(250), at(page, kind)))
    assert heard(stack) == calls
    due = [f"line {n}" for n in range(250)]
    after = [] if before else ["first"]
    assert stack.notion.section(page.id, "Inbox") == before + due + after
    row(number, f"clip with 250 blocks, {kind}", sum(calls.values()), "4+, wrong place")


def test_a_hundred_queued_clips_for_one_section_are_one_call(
    stack: Stack, page: Page, row: Row
) -> None:
    stack.delivered(stack.clip(page.id, "zero", at(page, "end_of_section")))
    stack.notion.forget_calls()
    with stack.paused():
        clips = [stack.clip(page.id, f"queued {n}", at(page, "end_of_section")) for n in range(100)]
    done = stack.delivered(*clips)
    assert heard(stack) == {APPEND: 1}
    due = ["first", "zero", *(f"queued {n}" for n in range(100))]
    assert stack.notion.section(page.id, "Inbox") == due
    there = [block["id"] for block in stack.notion.blocks(page.id) if text_of(block) in due[2:]]
    assert [d["block_ids"] for clip in done for d in clip["deliveries"]] == [[i] for i in there]
    row(12, "100 one-block clips queued for one section", 1, "100–800, reversed")


def test_a_hundred_clips_queued_over_a_restart_cost_one_read_more(
    stack: Stack, page: Page, row: Row
) -> None:
    stack.client.queue("pause")
    clips = [stack.clip(page.id, f"queued {n}", at(page, "end_of_section")) for n in range(100)]
    restarted(stack)
    stack.notion.forget_calls()
    stack.client.queue("resume")
    stack.delivered(*clips)
    assert heard(stack) == {LIST: 1, APPEND: 1}
    due = ["first", *(f"queued {n}" for n in range(100))]
    assert stack.notion.section(page.id, "Inbox") == due
    row(13, "the same queued over a restart: the section's end is read", 2, "100–800, reversed")
