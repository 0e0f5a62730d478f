"""Fills a new sandbox with a realistic world. Its ids are fixed:

- workspaces ``WORKSPACE`` ("Mira's Notion") and ``OTHER_WORKSPACE`` ("Northwind Team")
- users ``MIRA`` (in both) and ``JONAS`` (in the second only)
- pages: ``page_id("reading")`` and so on by the keys of ``seed_text.PAGES``, for instance
  ``READING_LIST``, ``LONG_PAGE`` (450 first-level blocks) and ``EMPTY_PAGE``
- the database ``DATABASE`` with the data source ``DATA_SOURCE`` and six rows ``row_id(n)``

Blocks have fixed ids too: ``block_id(key, n)`` is the n-th block of a page, in depth-first order.
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cloud_broker.sandbox.model import (
    Block,
    Database,
    DataSource,
    Draft,
    Json,
    Node,
    Page,
    Parent,
    User,
    Workspace,
)
from cloud_broker.sandbox.outline import block_of, read_outline
from cloud_broker.sandbox.seed_text import PAGES, ROWS
from cloud_broker.sandbox.shapes.properties import empty_properties
from cloud_broker.sandbox.shapes.rich_text import text_runs
from cloud_broker.sandbox.world import World

DAY_S = 86_400


def fixed_id(name: str) -> str:
    """Return the fixed id of ``name``."""
    return str(uuid5(NAMESPACE_URL, f"sandbox-notion:{name}"))


def page_id(key: str) -> str:
    """Return the id of a seed page."""
    return fixed_id(f"page:{key}")


def block_id(key: str, number: int) -> str:
    """Return the id of a seed page's block by its number in depth-first order, from 0."""
    return fixed_id(f"block:{key}:{number}")


def row_id(number: int) -> str:
    """Return the id of a row of the seed database, from 0."""
    return fixed_id(f"row:{number}")


WORKSPACE = fixed_id("workspace:mira")
OTHER_WORKSPACE = fixed_id("workspace:northwind")
MIRA = fixed_id("user:mira")
JONAS = fixed_id("user:jonas")
DATABASE = fixed_id("database:tasks")
DATA_SOURCE = fixed_id("data_source:tasks")
READING_LIST = page_id("reading")
LONG_PAGE = page_id("long")
EMPTY_PAGE = page_id("empty")
HOME = page_id("home")
TEAM_PAGE = page_id("team")


def plant(world: World) -> World:
    """Fill an empty world with objects that are some days old, so that new edits stand out."""
    for user in (
        User(MIRA, "person", "Mira Okafor", "mira@example.com"),
        User(JONAS, "person", "Jonas Brandt", "jonas@example.com"),
    ):
        world.users[user.id] = user
    for workspace in (
        Workspace(WORKSPACE, "Mira's Notion", "🌻", (MIRA,)),
        Workspace(OTHER_WORKSPACE, "Northwind Team", "🧊", (MIRA, JONAS)),
    ):
        world.workspaces[workspace.id] = workspace
        world.roots[workspace.id] = []
    planter = _Planter(world, world.clock.now() - 30 * DAY_S)
    for key, parent, emoji, title, text in PAGES:
        planter.page(
            key, parent, emoji, title, _long_page() if key == "long" else read_outline(text)
        )
    planter.layouts()
    planter.database()
    planter.page(
        "team", "", "🧊", "Team space", read_outline("# Plans\n# Notes"), OTHER_WORKSPACE, JONAS
    )
    planter.page(
        "team-retro", "team", "🔁", "Retro", read_outline("# Good\n# Bad"), OTHER_WORKSPACE, JONAS
    )
    return world


class _Planter:
    """Adds nodes with fixed ids to the world, each a little later than the previous one."""

    def __init__(self, world: World, start: float) -> None:
        self._world = world
        self._now = start
        self._owner = MIRA
        self._numbers: dict[str, int] = {}

    def page(
        self,
        key: str,
        parent: str,
        emoji: str,
        title: str,
        drafts: list[Draft],
        workspace_id: str = WORKSPACE,
        owner: str = MIRA,
    ) -> None:
        self._now += DAY_S * 0.7
        self._owner = owner
        where = Parent("page_id", page_id(parent)) if parent else Parent("workspace", "")
        properties = {"title": {"id": "title", "type": "title", "title": text_runs(title)}}
        page = self._page(page_id(key), workspace_id, where, properties, emoji)
        self.blocks(key, page, drafts)

    def blocks(self, key: str, parent: Node, drafts: list[Draft]) -> list[Block]:
        return [self._block(key, parent, draft) for draft in drafts]

    def layouts(self) -> None:
        """Add columns, a table, a synced block and a meeting note to the layouts page."""
        page = self._world.nodes[page_id("layouts")]
        one, other = (
            Draft("column", {}, (block_of("Left"),)),
            Draft("column", {}, (block_of("Right"),)),
        )
        rows = [("Step", "Who"), ("Build", "Mira"), ("Check", "Jonas")]
        table = Draft(
            "table",
            {"table_width": 2, "has_column_header": True, "has_row_header": False},
            tuple(Draft("table_row", {"cells": [text_runs(cell) for cell in row]}) for row in rows),
        )
        original = Draft(
            "synced_block", {"synced_from": None}, (block_of("In two places at once"),)
        )
        made = self.blocks(
            "layouts", page, [Draft("column_list", {}, (one, other)), table, original]
        )
        copy = {"synced_from": {"type": "block_id", "block_id": made[2].id}}
        notes = {"title": text_runs("Team sync"), "status": "notes_ready"}
        self.blocks("layouts", page, [Draft("synced_block", copy), Draft("meeting_notes", notes)])

    def database(self) -> None:
        """Add a small task table under Work."""
        work = Parent("page_id", page_id("work"))
        common: dict[str, Any] = {
            "workspace_id": WORKSPACE,
            "created_at": self._now,
            "edited_at": self._now,
            "created_by": MIRA,
            "edited_by": MIRA,
        }
        icon = {"type": "emoji", "emoji": "✅"}
        self._world.add(Database(id=DATABASE, parent=work, title="Tasks", icon=icon, **common))
        where = Parent("database_id", DATABASE)
        schema = _task_schema()
        self._world.add(
            DataSource(
                id=DATA_SOURCE, parent=where, title="Tasks", schema=schema, icon=icon, **common
            )
        )
        options = {option["name"]: option for option in schema["Status"]["status"]["options"]}
        for number, (title, status, tag, day) in enumerate(ROWS):
            self._now += DAY_S * 0.3
            values = empty_properties(schema)
            values["Name"]["title"] = text_runs(title)
            values["Status"]["status"] = options[status]
            values["Tags"]["multi_select"] = [{"id": f"tag-{tag}", "name": tag, "color": "blue"}]
            values["Due"]["date"] = {"start": day, "end": None, "time_zone": None}
            parent = Parent("data_source_id", DATA_SOURCE)
            row = self._page(row_id(number), WORKSPACE, parent, values, None)
            self.blocks(f"row-{number}", row, read_outline("# Notes\nNothing yet."))

    def _page(
        self,
        node_id: str,
        workspace_id: str,
        parent: Parent,
        properties: dict[str, Json],
        emoji: str | None,
    ) -> Page:
        page = Page(
            id=node_id,
            workspace_id=workspace_id,
            parent=parent,
            created_at=self._now,
            edited_at=self._now,
            created_by=self._owner,
            edited_by=self._owner,
            properties=properties,
            icon=None if emoji is None else {"type": "emoji", "emoji": emoji},
        )
        self._world.add(page)
        page.history[:] = [(self._now, self._world.title_of(page), self._now)]
        return page

    def _block(self, key: str, parent: Node, draft: Draft) -> Block:
        number = self._numbers.get(key, 0)
        self._numbers[key] = number + 1
        block = Block(
            id=block_id(key, number),
            workspace_id=parent.workspace_id,
            parent=Parent("page_id" if isinstance(parent, Page) else "block_id", parent.id),
            created_at=self._now,
            edited_at=self._now,
            created_by=self._owner,
            edited_by=self._owner,
            type=draft.type,
            body=draft.body,
        )
        self._world.add(block)
        for child in draft.children:
            self._block(key, block, child)
        return block


def _long_page() -> list[Draft]:
    """450 first-level blocks: nine chapters of three sections, lists, toggles and a callout."""
    drafts: list[Draft] = []
    for chapter in range(1, 10):
        lines = [f"# Chapter {chapter}", f"! What chapter {chapter} is about."]
        for section in range(1, 4):
            lines += [f"## Section {chapter}.{section}"]
            lines += [f"Paragraph {n} of section {chapter}.{section}." for n in range(1, 11)]
            lines += [f"- Point {n}" for n in range(1, 4)]
            lines += ["+ More\n  Hidden detail\n  - and a point"]
        drafts += read_outline("\n".join(lines))
        drafts += read_outline(f"+# Aside {chapter}\n  In the aside.\n---\n> A closing thought.")
    return drafts


def _task_schema() -> dict[str, Json]:
    names = (("Not started", "gray"), ("In progress", "blue"), ("Done", "green"))
    options = [
        {"id": f"status-{i}", "name": name, "color": color} for i, (name, color) in enumerate(names)
    ]
    tags = [
        {"id": f"tag-{name}", "name": name, "color": "blue"}
        for name in ("code", "design", "research", "launch")
    ]
    kinds: tuple[tuple[str, str, str, Json], ...] = (
        ("Name", "title", "title", {}),
        ("Status", "st%3A1", "status", {"options": options, "groups": []}),
        ("Tags", "tg%3A1", "multi_select", {"options": tags}),
        ("Due", "du%3A1", "date", {}),
        ("Link", "ln%3A1", "url", {}),
        ("Edited", "ed%3A1", "last_edited_time", {}),
    )
    return {
        name: {"id": own_id, "name": name, "description": None, "type": kind, kind: config}
        for name, own_id, kind, config in kinds
    }
