"""Pages and rows that the queue creates: once each, after any answer, offline too."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_broker.sandbox.seed import DATA_SOURCE, DATABASE
from tests.stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CREATE = "POST /v1/pages"


def made(stack: Stack, title: str) -> list[str]:
    """The ids of all that goes by this title at Notion."""
    return [p["id"] for p in stack.notion.ask("GET", "pages")["pages"] if p["title"] == title]


ROW, TABLE, PAGE = {"data_source_id": DATA_SOURCE}, {"database_id": DATABASE}, None


@pytest.mark.parametrize(
    ("parent", "kind"),
    [
        (ROW, None),
        (ROW, "5xx_after"),
        (ROW, "drop_after"),
        (ROW, "drop_before"),
        (TABLE, "drop_after"),
        (PAGE, "5xx_after"),
        (PAGE, "drop_after"),
    ],
)
def test_a_page_or_row_is_created_once_whatever_becomes_of_the_answer(
    stack: Stack, request: pytest.FixtureRequest, parent: dict[str, str] | None, kind: str | None
) -> None:
    title = request.node.name
    parent = parent or {"page_id": stack.notion.page(f"parent of {title}").id}
    if kind:
        params = {"status": 503} if kind == "5xx_after" else {}
        stack.notion.misbehave({"kind": kind, "route": CREATE, "times": 1, "params": params})
    target: dict[str, Any] = {"new_page": {"ref": title, "parent": parent, "title": title}}
    first = stack.clip([target], "first")
    second = stack.clip([{"page_ref": title}], "second")
    clip, _ = stack.delivered(first, second)
    (page,) = made(stack, title)
    assert clip["deliveries"][0]["page_id"] == page
    assert stack.notion.texts(page) == ["first", "second"]


def test_pages_inside_new_pages_are_made_offline_with_clips_into_them_queued_behind(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    title = request.node.name
    parent = stack.notion.page(f"parent of {title}").id
    outer, inner = f"outer {title}", f"inner {title}"
    stack.kill_broker()
    try:
        wanted: dict[str, Any] = {"ref": outer, "parent": {"page_id": parent}, "title": outer}
        clips = [stack.client.clip({"targets": [{"new_page": wanted}]})]
        wanted = {"ref": inner, "parent": {"page_ref": outer}, "title": inner}
        clips.append(stack.clip([{"new_page": wanted}], "in it"))
        clips.append(stack.clip([{"page_ref": inner}], "behind"))
        clips.append(stack.clip([{"page_ref": outer}], "outside"))
        stack.restart_daemon()
    finally:
        stack.open_broker()
    stack.client.queue("retry")
    stack.delivered(*clips)
    (made_outer,), (made_inner,) = made(stack, outer), made(stack, inner)
    assert stack.notion.texts(made_inner) == ["in it", "behind"]
    assert "outside" in stack.notion.texts(made_outer)
