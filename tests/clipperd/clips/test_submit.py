"""Submits clips: owner, page titles, positions, and one clip per idempotency key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from clipperd.clips.submit import ClipBody, ClipSubmission, TargetBody
from clipperd.errors import InvalidInput, WorkspaceMismatch
from clipperd.model import POSITIONS, PositionType, Scope
from clipperd.outbox.records import ClipView
from clipperd.pages.directory import Directory
from tests.clipperd.delivery.rig import Rig
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clocks import SkippingClock

ELSEWHERE = "22222222-2222-4222-8222-222222222222"
PAGE = "11111111-1111-4111-8111-111111111111"
API = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")


class Accounts:
    """An account with two workspaces, one of them current."""

    def __init__(self) -> None:
        self.current = SCOPE.workspace_id

    async def scope(self, workspace_id: str | None) -> Scope:
        return Scope(SCOPE.user_id, workspace_id or self.current)

    async def current_user(self) -> str:
        return SCOPE.user_id


class Desk:
    """A ClipSubmission over real databases."""

    def __init__(self, folder: Path) -> None:
        clock = SkippingClock()
        self.rig = Rig(folder, MemoryNotion(clock), clock)
        self.accounts = Accounts()
        accounts: Any = self.accounts
        idle: Any = Idle()
        directory = Directory(self.rig.cache)
        self.intake = ClipSubmission(self.rig.outbox, accounts, directory, idle, clock)

    async def known(
        self, page_id: str, workspace: str, title: str, access: str = "ok", kind: str = "page"
    ) -> None:
        def work(c: Any) -> None:
            c.execute(
                "INSERT INTO page (user_id, workspace_id, page_id, kind, title, folded,"
                " last_edited_time, access, checked_at) VALUES (?, ?, ?, ?, ?, ?, '', ?, 0)",
                (SCOPE.user_id, workspace, page_id, kind, title, title, access),
            )
            c.execute(
                "INSERT OR IGNORE INTO page_index (user_id, workspace_id, phase)"
                " VALUES (?, ?, 'complete')",
                (SCOPE.user_id, workspace),
            )

        await self.rig.cache.write(work)

    async def post(self, *targets: dict[str, Any], **more: Any) -> tuple[ClipView, bool]:
        body = {"targets": targets, "content": {"format": "text", "text": "hi"}}
        body |= {k: v for k, v in more.items() if k != "key"}
        return await self.intake.accept(
            msgspec.convert(body, ClipBody),
            header_workspace=None,
            client_id="owner",
            key=more.get("key"),
        )


class Idle:
    """A dispatcher that sends nothing."""

    def poke(self, *_: object, **__: object) -> None:
        return None

    free = poke


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.rig.close()


async def test_deliveries_carry_the_titles_that_the_index_knows(desk: Desk) -> None:
    await desk.known(PAGE, SCOPE.workspace_id, "Notes")
    new = {"new_page": {"ref": "trip", "parent": {"page_id": PAGE}, "title": "Trip"}}
    view, _ = await desk.post({"page_id": PAGE}, {"page_id": ELSEWHERE}, new)
    behind, _ = await desk.post({"page_ref": "trip"})
    titles = [d.page_title for d in (*view.deliveries, *behind.deliveries)]
    assert titles == ["Notes", None, "Trip", "Trip"]


async def test_a_delivery_that_moves_takes_the_title_of_its_new_page(desk: Desk) -> None:
    await desk.known(PAGE, SCOPE.workspace_id, "Notes")
    view, _ = await desk.post({"page_id": ELSEWHERE})
    moved = await desk.intake.retarget(view.id, view.deliveries[0].id, TargetBody(page_id=PAGE))
    assert moved.deliveries[0].page_title == "Notes"


async def test_a_page_known_to_be_in_another_workspace_is_refused(desk: Desk) -> None:
    await desk.known(PAGE, "workspace-9", "Theirs")
    with pytest.raises(WorkspaceMismatch):
        await desk.post({"page_id": PAGE})
    view, _ = await desk.post({"page_id": ELSEWHERE})
    with pytest.raises(WorkspaceMismatch):
        await desk.intake.retarget(view.id, view.deliveries[0].id, TargetBody(page_id=PAGE))
    await desk.post({"page_id": PAGE}, workspace_id="workspace-9")


@pytest.mark.parametrize("kind", ["data_source", "database"])
async def test_a_clip_to_a_database_becomes_a_row_titled_by_the_clip(desk: Desk, kind: str) -> None:
    await desk.known(PAGE, SCOPE.workspace_id, "Tasks", kind=kind)
    heading = {"format": "markdown", "markdown": "before\n\n## Pay rent"}
    source = {"title": " From\nthe web "}
    by_line, _ = await desk.post({"page_id": PAGE})
    by_source, _ = await desk.post({f"{kind}_id": PAGE}, source=source)
    by_heading, _ = await desk.post({"page_id": PAGE}, content=heading, source=source)
    found = [view.deliveries[0] for view in (by_line, by_source, by_heading)]
    assert [d.page_title for d in found] == ["hi", "From the web", "Pay rent"]
    assert [d.page_id for d in found] == [None] * 3
    rows = await desk.rig.db.read(lambda c: c.execute("SELECT new_page FROM delivery").fetchall())
    assert {str(json.loads(row[0])["parent"]) for row in rows} == {str({f"{kind}_id": PAGE})}


async def test_a_row_has_no_headings_to_name_and_needs_content(desk: Desk) -> None:
    await desk.known(PAGE, SCOPE.workspace_id, "Tasks", kind="database")
    inside = {"position": {"type": "end_of_section", "heading": {"text": "To do"}}}
    for target in ({"page_id": PAGE, **inside}, {"database_id": ELSEWHERE, **inside}):
        with pytest.raises(InvalidInput) as refused:
            await desk.post(target)
        assert refused.value.errors[0]["pointer"] == "/targets/0/position"
    with pytest.raises(InvalidInput):
        await desk.post({"database_id": ELSEWHERE}, content=None)


async def test_a_delivery_that_moves_to_a_database_becomes_a_row(desk: Desk) -> None:
    await desk.known(PAGE, SCOPE.workspace_id, "Tasks", kind="data_source")
    view, _ = await desk.post({"page_id": ELSEWHERE})
    moved = await desk.intake.retarget(view.id, view.deliveries[0].id, TargetBody(page_id=PAGE))
    assert (moved.deliveries[0].page_id, moved.deliveries[0].page_title) == (None, "hi")


async def test_a_clip_is_accepted_without_the_cache(desk: Desk) -> None:
    await desk.rig.cache.write(lambda c: c.execute("DROP TABLE page"))
    view, _ = await desk.post({"page_id": PAGE})
    assert view.deliveries[0].page_title is None


async def test_a_repeated_post_is_the_same_clip_after_the_current_workspace_changed(
    desk: Desk,
) -> None:
    first, _ = await desk.post({"page_id": PAGE}, key="k")
    desk.accounts.current = "workspace-9"
    again, replayed = await desk.post({"page_id": PAGE}, key="k")
    assert (again.id, again.workspace_id, replayed) == (first.id, SCOPE.workspace_id, True)


def position(kind: PositionType) -> dict[str, str]:
    """The smallest position of this type that is accepted."""
    named = POSITIONS[kind].names
    return {"type": kind} | ({f"{named}_id": ELSEWHERE} if named else {})


@pytest.mark.parametrize("kind", POSITIONS)
async def test_every_position_type_is_accepted_with_exactly_the_name_it_needs(
    desk: Desk, kind: PositionType
) -> None:
    view, _ = await desk.post({"page_id": PAGE, "position": position(kind)})
    assert view.deliveries[0].position == position(kind)
    for other in ("heading_id", "block_id"):
        wrong = position(kind)
        wrong = {"type": kind} if other in wrong else {**wrong, other: ELSEWHERE}
        with pytest.raises(InvalidInput):
            await desk.post({"page_id": PAGE, "position": wrong})


def test_the_api_describes_exactly_the_position_types_of_the_table() -> None:
    assert set(get_args(PositionType)) == set(POSITIONS)
    row = next(line for line in API.splitlines() if "`position.type`" in line)
    assert [f"`{kind}`" in row for kind in POSITIONS] == [True] * len(POSITIONS)


def test_a_priority_of_null_is_the_default_one() -> None:
    given = {"targets": [{"page_id": PAGE}], "priority": None, "not_before": None}
    assert msgspec.convert(given, ClipBody) == ClipBody([TargetBody(page_id=PAGE)])
