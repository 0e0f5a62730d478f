"""The traps found in the client app, each over the local API on real processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clipperd.client import items
from clipperd.process.errors import ApiError
from tests.stack.notion import APPEND, Page, flat, text_of
from tests.stack.stack import JONAS, MIRA, Stack, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

OUTLINE = "Top\n# Inbox\nfirst\n# Later\nkept"
ROOT = Path(__file__).parents[2]
UNSENT = ("queued", "retrying")


@pytest.fixture
def page(stack: Stack, request: pytest.FixtureRequest) -> Page:
    return stack.notion.page(request.node.name, OUTLINE)


def inbox(page: Page) -> dict[str, Any]:
    return {"type": "end_of_section", "heading_id": page.heading("Inbox")}


def paragraph(text: str, *children: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"rich_text": [{"type": "text", "text": {"content": text}}]}
    if children:
        body["children"] = list(children)
    return {"object": "block", "type": "paragraph", "paragraph": body}


def native(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"format": "blocks", "blocks": list(blocks)}


def test_250_blocks_stay_contiguous_and_inside_while_a_person_types(
    stack: Stack, page: Page
) -> None:
    stack.notion.misbehave({"kind": "latency", "route": APPEND, "params": {"ms": 1500}})
    lines = [f"line {n}" for n in range(250)]
    clip = stack.clip(page.id, native(*map(paragraph, lines)), inbox(page))
    stack.until(lambda: lines[0] in stack.notion.texts(page.id), "nothing arrives")
    last = stack.notion.blocks(page.id)[len(page.blocks) - 2 + 99]
    assert text_of(last) == lines[99]
    stack.notion.edit("insert", page_id=page.id, after=last["id"], text="typed")
    stack.notion.edit("insert", page_id=page.id, text="typed at the end")
    stack.delivered(clip)
    assert stack.notion.section(page.id, "Inbox") == ["first", *lines, "typed"]


@pytest.mark.parametrize("kind", ["committed_503", "5xx_after", "drop_after", "truncated"])
def test_a_write_that_was_applied_and_answered_badly_leaves_one_copy(
    stack: Stack, page: Page, kind: str
) -> None:
    params = {"status": 503} if kind == "5xx_after" else {}
    stack.notion.misbehave({"kind": kind, "route": APPEND, "times": 1, "params": params})
    stack.delivered(stack.clip(page.id, "once", inbox(page)))
    assert stack.notion.fired() == {kind: 1}
    assert stack.notion.section(page.id, "Inbox") == ["first", "once"]


@pytest.mark.parametrize("kind", ["uncommitted_503", "drop_before", "409"])
def test_a_write_that_was_not_applied_and_not_answered_clearly_is_made_good(
    stack: Stack, page: Page, kind: str
) -> None:
    stack.notion.misbehave({"kind": kind, "route": APPEND, "times": 1})
    stack.delivered(stack.clip(page.id, "once", inbox(page)))
    assert stack.notion.fired() == {kind: 1}
    assert stack.notion.section(page.id, "Inbox") == ["first", "once"]


def test_a_write_that_comes_late_leaves_one_copy(stack: Stack, page: Page) -> None:
    late = {"ms": 1200, "answer": "drop"}
    stack.notion.misbehave({"kind": "late", "route": APPEND, "times": 1, "params": late})
    stack.delivered(stack.clip(page.id, "once", inbox(page)))
    stack.notion.behave()
    assert stack.notion.section(page.id, "Inbox") == ["first", "once"]


@pytest.mark.parametrize("text", ["the same", "another"])
def test_a_write_passed_through_is_not_taken_for_a_clip_whose_own_write_was_lost(
    stack: Stack, page: Page, text: str
) -> None:
    path = f"/v1/notion/blocks/{page.id}/children"
    stack.client.ask("PATCH", path, body={"children": [paragraph("the same")]})
    stack.notion.misbehave({"kind": "drop_before", "route": APPEND, "times": 1})
    stack.delivered(stack.clip(page.id, text))
    assert stack.notion.texts(page.id)[-2:] == ["the same", text]


@pytest.mark.parametrize("name", ["README.md", "docs/storage-schema.md", "docs/glossary.md"])
def test_a_document_whose_answer_was_lost_is_recognised_on_the_page(
    stack: Stack, page: Page, name: str
) -> None:
    stack.notion.misbehave({"kind": "drop_after", "route": APPEND})
    document = {"format": "markdown", "markdown": (ROOT / name).read_text("utf-8")}
    [done] = stack.delivered(stack.clip(page.id, document, inbox(page)))
    there = [block["id"] for block in stack.notion.blocks(page.id)]
    ids = done["deliveries"][0]["block_ids"]
    assert there[3 : 3 + len(ids)] == ids
    assert len(there) == len(page.blocks) + len(ids)


def test_ten_clips_in_the_same_tick_are_ten_clips(stack: Stack, page: Page) -> None:
    with ThreadPoolExecutor(10) as pool:
        clips = list(pool.map(lambda _: stack.clip(page.id, "same", inbox(page)), range(10)))
    assert len({clip["id"] for clip in clips}) == 10
    stack.delivered(*clips)
    assert stack.notion.section(page.id, "Inbox") == ["first", *["same"] * 10]


def test_two_clips_in_a_row_into_one_section_keep_their_order(stack: Stack, page: Page) -> None:
    stack.notion.misbehave(
        {"kind": "latency", "route": APPEND, "times": 1, "params": {"ms": 400}},
        {"kind": "429", "route": APPEND, "on": [2], "params": {"retry_after": 1}},
    )
    clips = [stack.clip(page.id, text, inbox(page)) for text in ("one", "two")]
    stack.delivered(*clips)
    assert stack.notion.section(page.id, "Inbox") == ["first", "one", "two"]


def test_several_pages_each_with_its_section_and_one_without_get_one_copy_each(
    stack: Stack,
) -> None:
    pages = [stack.notion.page(f"Of several {n}", OUTLINE) for n in range(3)]
    targets: list[dict[str, Any]] = [
        {"page_id": pages[0].id, "position": inbox(pages[0])},
        {"page_id": pages[1].id},
        {
            "page_id": pages[2].id,
            "position": {"type": "end_of_section", "heading": {"text": "Later"}},
        },
    ]
    [done] = stack.delivered(stack.clip(targets, "everywhere"))
    assert done["summary"] == {"delivered": 3}
    assert [stack.notion.texts(each.id) for each in pages] == [
        ["Top", "Inbox", "first", "everywhere", "Later", "kept"],
        ["Top", "Inbox", "first", "Later", "kept", "everywhere"],
        ["Top", "Inbox", "first", "Later", "kept", "everywhere"],
    ]


def test_switching_the_account_with_a_full_queue_sends_nothing_under_the_wrong_name(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as stack:
        mine = stack.notion.page("Of Mira", OUTLINE)
        stack.client.queue("pause")
        of_mira = [stack.clip(mine.id, f"of Mira {n}", inbox(mine)) for n in range(5)]
        stack.client.logout()
        stack.client.queue("resume")
        jonas = stack.sign_in(JONAS, workspace="Northwind Team")
        theirs = stack.notion.page(
            "Of Jonas", OUTLINE, workspace_id=jonas["workspaces"][0]["id"], user_id=None
        )
        stack.notion.forget_calls()
        stack.delivered(stack.clip(theirs.id, "of Jonas"))
        assert stack.notion.texts(mine.id) == ["Top", "Inbox", "first", "Later", "kept"]
        assert {call["path"] for call in stack.notion.each_call()} == {
            f"/v1/blocks/{theirs.id}/children"
        }
        assert [clip["preview"] for clip in stack.client.every_clip()] == ["of Jonas"]
        assert stack.client.status()["queue"]["queued"] == 0
        stack.client.logout()
        stack.sign_in(MIRA)
        stack.delivered(*of_mira)
        due = ["first", *(f"of Mira {n}" for n in range(5))]
        assert stack.notion.section(mine.id, "Inbox") == due
        assert stack.notion.texts(theirs.id)[-1] == "of Jonas"
        authors = {
            text_of(block): block["created_by"]["id"]
            for each in (mine, theirs)
            for block in stack.notion.blocks(each.id)
        }
        assert authors["of Mira 0"] == authors["of Mira 4"] != authors["of Jonas"]


def test_deleting_the_cache_cannot_touch_unsent_clips(stack: Stack, page: Page) -> None:
    stack.client.queue("pause")
    clips = [stack.clip(page.id, f"unsent {n}", inbox(page)) for n in range(3)]
    stack.kill_daemon()
    gone = list(stack.home.rglob("cache.db*"))
    for file in gone:
        file.unlink()
    stack.open_daemon()
    assert gone
    assert [stack.client.one_clip(clip["id"])["state"] for clip in clips] == ["queued"] * 3
    stack.client.queue("resume")
    stack.delivered(*clips)
    assert stack.notion.section(page.id, "Inbox") == ["first", "unsent 0", "unsent 1", "unsent 2"]
    stack.indexed()


def test_more_than_2000_characters_are_split_and_not_cut(stack: Stack, page: Page) -> None:
    text = "".join(f"{n} 😀 wörter " for n in range(900))
    stack.delivered(stack.clip(page.id, native(paragraph(text)), inbox(page)))
    assert "".join(stack.notion.section(page.id, "Inbox")[1:]) == text


def test_more_than_100_children_are_split_and_not_cut(stack: Stack, page: Page) -> None:
    inner = [paragraph(f"inner {n}") for n in range(230)]
    clip = stack.clip(page.id, native(paragraph("outer", *inner), paragraph("next")), inbox(page))
    stack.delivered(clip)
    there = [text_of(block) for block in flat(stack.notion.blocks(page.id))]
    due = ["first", "outer", *(f"inner {n}" for n in range(230)), "next", "Later"]
    assert there[2:-1] == due


def test_more_than_two_levels_are_split_and_not_cut(stack: Stack, page: Page) -> None:
    block = paragraph("level 6")
    for level in range(5, 0, -1):
        block = paragraph(f"level {level}", block, paragraph(f"beside {level}"))
    stack.delivered(stack.clip(page.id, native(block, paragraph("next")), inbox(page)))
    there = [text_of(each) for each in flat(stack.notion.blocks(page.id))]
    due = [f"level {n}" for n in range(1, 7)] + [f"beside {n}" for n in range(5, 0, -1)]
    assert there[2:] == ["first", *due, "next", "Later", "kept"]


def test_more_than_100_kb_are_sent_whole(stack: Stack, page: Page) -> None:
    lines = [f"{n} " + "abcdefghij" * 150 for n in range(400)]
    clip = stack.clip(page.id, native(*map(paragraph, lines)), inbox(page))
    stack.delivered(clip)
    assert clip["size_bytes"] > 600_000
    assert stack.notion.section(page.id, "Inbox") == ["first", *lines]


def test_a_queued_clip_is_not_shown_as_sent(stack: Stack, page: Page) -> None:
    stack.close_broker()
    clip = stack.clip(page.id, "waiting", inbox(page))
    shown = stack.until_clip(clip, lambda now: True)
    [delivery] = shown["deliveries"]
    delivered = items(stack.client.clips(state="delivered", page_id=page.id))
    waiting = items(stack.client.clips(state=",".join(UNSENT), page_id=page.id))
    stack.open_broker()
    stack.client.queue("retry")
    assert shown["state"] in UNSENT
    assert (delivery["delivered_at"], delivery["block_ids"], delivery["chunks_done"]) == (
        None,
        [],
        0,
    )
    assert delivered == []
    assert [each["id"] for each in waiting] == [clip["id"]]
    stack.delivered(clip)


def test_an_outage_does_not_show_an_empty_workspace(stack: Stack) -> None:
    stack.indexed()
    known = items(stack.client.pages(view="all", limit=100))
    stack.close_broker()
    stack.restart_daemon()
    with pytest.raises(ApiError) as outage:
        stack.client.ask("POST", "/v1/pages/refresh")
    shown = stack.client.pages(view="all", limit=100)
    stack.open_broker()
    stack.client.queue("retry")
    assert outage.value.code == "broker_unreachable"
    assert len(items(shown)) == len(known) > 0
    assert "empty_reason" not in shown["index"]


def test_an_outage_at_the_very_first_start_does_not_show_an_empty_workspace(stack: Stack) -> None:
    stack.kill_daemon()
    stack.close_broker()
    for file in stack.home.rglob("cache.db*"):
        file.unlink()
    stack.open_daemon()
    stack.until(
        lambda: stack.client.status()["connectivity"]["state"] == "offline", "no outage seen"
    )
    shown = stack.client.pages(view="all", limit=100)
    stack.open_broker()
    stack.client.ask("POST", "/v1/pages/refresh")
    stack.indexed()
    assert items(shown) == []
    assert not shown["index"]["complete"]
    assert "empty_reason" not in shown["index"]
    assert items(stack.client.pages(view="all", limit=100)) != []


def test_failed_clips_are_retried_page_by_page(stack: Stack) -> None:
    pages = [stack.notion.page(f"Page by page {n}", OUTLINE) for n in range(3)]
    for each in pages[1:]:
        stack.notion.edit("trash", page_id=each.id)
    clip = stack.clip([{"page_id": each.id} for each in pages], "to three")
    # Its state is that of the worst delivery, and so is there before the others have ended.
    due = {"delivered": 1, "needs_attention": 2}
    stuck = stack.until_clip(clip, lambda now: now["summary"] == due)
    for each in pages[1:]:
        stack.notion.edit("restore", page_id=each.id)
    mine = {d["page_id"]: d["id"] for d in stuck["deliveries"]}
    stack.client.act(clip["id"], "retry", delivery_id=mine[pages[1].id])
    after = stack.until_clip(clip, lambda now: now["summary"].get("delivered") == 2)
    assert after["summary"] == {"delivered": 2, "needs_attention": 1}
    assert [stack.notion.texts(each.id).count("to three") for each in pages] == [1, 1, 0]
    stack.client.act(clip["id"], "retry", delivery_id=mine[pages[2].id])
    stack.delivered(clip)
    assert [stack.notion.texts(each.id).count("to three") for each in pages] == [1, 1, 1]


def test_headings_with_mixed_formatting_keep_their_text_and_give_both_indexes(
    stack: Stack, page: Page
) -> None:
    runs = [
        {"type": "text", "text": {"content": "Plain, "}},
        {"type": "text", "text": {"content": "bold"}, "annotations": {"bold": True}},
        {"type": "text", "text": {"content": " and "}},
        {"type": "text", "text": {"content": "code"}, "annotations": {"code": True}},
        {"type": "text", "text": {"content": " 日本", "link": {"url": "https://example.org/"}}},
    ]
    heading = {"object": "block", "type": "heading_2", "heading_2": {"rich_text": runs}}
    stack.delivered(stack.clip(page.id, native(heading, paragraph("below"))))
    headings = stack.client.outline(page.id, "verified")["headings"]
    assert [(h["text"], h["level"], h["index"], h["position"]) for h in headings] == [
        ("Inbox", 1, 0, 1),
        ("Later", 1, 1, 3),
        ("Plain, bold and code 日本", 2, 2, 5),
    ]
