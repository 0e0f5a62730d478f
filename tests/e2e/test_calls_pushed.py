"""The same counts of calls, with webhooks: data that the stream keeps fresh costs no call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stack.notion import APPEND, Page
from tests.stack.stack import Stack, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TABLE = "table: Calls that Notion heard, with push"
OUTLINE = "Top\n# Inbox\nfirst\n# Later\nkept"
Row = Callable[[int, str, int, str], None]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("pushed")
    # A section's end is trusted for no time at all: what is saved here, the stream saves.
    more = {"BROKER_WEBHOOK_PENDING": "1", "CLIPPERD_ANCHOR_TRUST_S": "0"}
    with running(folder, CLIPPERD_REFRESH_S="60", **more) as made:
        made.subscribe()
        made.restart_daemon()  # the stream learns that webhooks are expected
        made.until_told()
        yield made


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Row:
    def write(number: int, operation: str, calls: int, old: str) -> None:
        record_property(TABLE, f"{number:2}  {operation:<58} {calls:>3}   (before: {old})")

    return write


@pytest.fixture
def page(stack: Stack) -> Page:
    """A page that the stream vouches for, and a count that starts at zero."""
    made = stack.notion.page(f"Pushed {time.monotonic_ns()}", OUTLINE)
    known(stack, made)
    return made


def known(stack: Stack, *pages: Page) -> None:
    """Let the pages' own webhooks pass, look at them, and count from zero."""

    def is_vouched() -> bool:
        stack.notion.ask("POST", "settle")
        sources = {stack.client.outline(page.id, "auto")["source"] for page in pages}
        return sources == {"push"}

    settled_at = time.monotonic() + 2.5  # the broker gathers for a second, and so may the index
    stack.until(lambda: time.monotonic() > settled_at and is_vouched(), "nothing is vouched for")
    stack.notion.forget_calls()


def heard(stack: Stack) -> dict[str, int]:
    calls = stack.notion.calls()
    stack.notion.forget_calls()
    return calls


def at(page: Page, kind: str) -> dict[str, Any]:
    return {"type": kind, "heading_id": page.heading("Inbox")}


def blocks(count: int) -> dict[str, Any]:
    texts = [{"type": "text", "text": {"content": f"line {n}"}} for n in range(count)]
    made = [{"type": "paragraph", "paragraph": {"rich_text": [text]}} for text in texts]
    return {"format": "blocks", "blocks": made}


def test_a_known_outline_is_no_call(stack: Stack, page: Page, row: Row) -> None:
    outline = stack.client.outline(page.id, "auto")
    assert (outline["source"], outline["notion_calls"]) == ("push", 0)
    assert heard(stack) == {}
    row(1, "outline of a known page", 0, "1–5")


def test_five_known_outlines_are_no_call(stack: Stack, row: Row) -> None:
    pages = [stack.notion.page(f"Five {n}", OUTLINE) for n in range(5)]
    known(stack, *pages)
    asked = {"page_ids": [each.id for each in pages]}
    results = stack.client.ask("POST", "/v1/outlines", body=asked)["results"]
    assert {result["outline"]["source"] for result in results} == {"push"}
    assert heard(stack) == {}
    row(2, "outlines of 5 known pages", 0, "5–25")


def test_a_persons_edit_is_seen_by_the_next_outline(stack: Stack, page: Page) -> None:
    stack.notion.edit("insert", page_id=page.id, text="# By hand")
    stack.notion.ask("POST", "settle")

    def is_seen() -> bool:
        outline = stack.client.outline(page.id, "auto")
        return bool(outline["headings"][-1]["text"] == "By hand")

    stack.until(is_seen, "the edit does not arrive")


def test_clips_are_one_call_each(stack: Stack, page: Page, row: Row) -> None:
    stack.delivered(stack.clip(page.id, "at the end"))
    assert heard(stack) == {APPEND: 1}
    row(3, "clip at the end of a page", 1, "1")
    stack.delivered(stack.clip(page.id, "after", at(page, "after_heading")))
    assert heard(stack) == {APPEND: 1}
    row(4, "clip after a heading", 1, "2–3")
    for text in ("one", "two"):
        stack.delivered(stack.clip(page.id, text, at(page, "end_of_section")))
        assert heard(stack) == {APPEND: 1}
    row(5, "clip at the end of a section, again", 1, "2–8")
    assert stack.notion.section(page.id, "Inbox") == ["after", "first", "one", "two"]


def test_a_clip_to_five_pages_is_five_calls(stack: Stack, row: Row) -> None:
    pages = [stack.notion.page(f"Burst {n}", OUTLINE) for n in range(5)]
    known(stack, *pages)
    targets = [{"page_id": each.id, "position": at(each, "end_of_section")} for each in pages]
    stack.delivered(stack.clip(targets, "to all"))
    assert heard(stack) == {APPEND: 5}
    row(6, "clip to a section of each of 5 pages", 5, "5–10")


def test_250_blocks_at_the_end_of_a_section_are_three_calls(
    stack: Stack, page: Page, row: Row
) -> None:
    stack.delivered(stack.clip(page.id, blocks(250), at(page, "end_of_section")))
    assert heard(stack) == {APPEND: 3}
    due = ["first", *(f"line {n}" for n in range(250))]
    assert stack.notion.section(page.id, "Inbox") == due
    row(7, "clip with 250 blocks, end_of_section", 3, "4+, wrong place")


def test_a_hundred_queued_clips_are_one_call(stack: Stack, page: Page, row: Row) -> None:
    with stack.paused():
        clips = [stack.clip(page.id, f"queued {n}", at(page, "end_of_section")) for n in range(100)]
    stack.delivered(*clips)
    assert heard(stack) == {APPEND: 1}
    due = ["first", *(f"queued {n}" for n in range(100))]
    assert stack.notion.section(page.id, "Inbox") == due
    row(8, "100 one-block clips queued for one section", 1, "100–800, reversed")
