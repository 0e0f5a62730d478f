"""Holds the sandbox's state in memory: workspaces, users, pages, blocks, tokens, uploads.

All methods are synchronous, so that requests are applied atomically and in order. One seeded
generator makes ids, another makes faults, so that a run with the same seed repeats.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from uuid import UUID

from cloud_broker.clock import Clock
from cloud_broker.sandbox.budgets import Budgets
from cloud_broker.sandbox.clock import ShiftingClock
from cloud_broker.sandbox.errors import NotionError
from cloud_broker.sandbox.model import (
    Block,
    Change,
    Code,
    Config,
    Database,
    DataSource,
    Draft,
    Integration,
    Json,
    Node,
    Page,
    Parent,
    Token,
    Upload,
    User,
    Workspace,
)
from cloud_broker.sandbox.shapes.rich_text import plain_text


class World:
    """The state, with the operations that change the tree."""

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        client_id: str = "sandbox-client",
        client_secret: str = "sandbox-secret",  # noqa: S107 (a sandbox has no secrets)
        config: Config | None = None,
    ) -> None:
        """Start empty; ``seed.plant`` adds the realistic workspaces.

        ``config`` is the configuration to start with and to return to.
        """
        self.clock = ShiftingClock(clock)
        self.seed = seed
        self.own = Integration(client_id, client_secret, "Clipper (sandbox)")
        self._config = config or Config()
        self.listeners: list[Callable[[Change], None]] = []
        self.clear()

    def clear(self) -> None:
        """Reset everything except the listeners, also the random numbers."""
        self.random = random.Random(f"world {self.seed}")  # noqa: S311 (repeatable)
        self.config = replace(self._config)
        self.budgets = Budgets()
        self.integrations = {self.own.client_id: self.own}
        self.nodes: dict[str, Node] = {}
        self.users: dict[str, User] = {}
        self.workspaces: dict[str, Workspace] = {}
        self.roots: dict[str, list[str]] = {}
        self.tokens: dict[str, Token] = {}
        self.refreshes: dict[str, Token] = {}
        self.codes: dict[str, Code] = {}
        self.uploads: dict[str, Upload] = {}
        self.shares: dict[tuple[str, str], bool] = {}  # (node id, bot id or "") -> shared
        self.revisions: dict[str, int] = {}  # page id -> number of changes, for the HTML view
        self.created_blocks = 0

    # --- reading ---

    def new_id(self) -> str:
        """Return the next uuid."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def new_secret(self, prefix: str) -> str:
        """Return the next token or code."""
        return prefix + "".join(self.random.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=46))

    def page_of(self, node: Node) -> Node | None:
        """Return the page that ``node`` is on (itself if a page), or None outside of pages."""
        for each in self.ancestry(node):
            if isinstance(each, Page):
                return each
        return None

    def ancestry(self, node: Node) -> Iterator[Node]:
        """Yield ``node``, its parent, and so on up to the top."""
        at: Node | None = node
        while at is not None:
            yield at
            at = self.nodes.get(at.parent.id)

    def in_trash(self, node: Node) -> bool:
        """Return whether ``node`` or an ancestor is in the trash."""
        return any(each.trashed for each in self.ancestry(node))

    def visible(self, node: Node, token: Token) -> bool:
        """Return whether ``node`` is shared with the token's connection: the nearest rule wins."""
        if node.workspace_id != token.workspace_id:
            return False
        if not self.shares:
            return True
        for each in self.ancestry(node):
            for bot in (token.bot_id, ""):
                shared = self.shares.get((each.id, bot))
                if shared is not None:
                    return shared
        return True

    def living(self, node: Node) -> list[Node]:
        """Return the children that are not in the trash, in order."""
        return [kid for each in node.children if not (kid := self.nodes[each]).trashed]

    def siblings(self, node: Node) -> list[str]:
        """Return the list that holds ``node``'s id: its parent's children, or the top level."""
        parent = self.nodes.get(node.parent.id)
        return self.roots[node.workspace_id] if parent is None else parent.children

    def title_of(self, node: Node) -> str:
        """Return the plain title of a page, database or data source."""
        if isinstance(node, Page):
            for value in node.properties.values():
                if value["type"] == "title":
                    return plain_text(value["title"])
        return node.title if isinstance(node, Database | DataSource) else ""

    # --- changing ---

    def add(self, node: Node, index: int | None = None) -> None:
        """Add a new node to its parent at ``index`` among the children (None: the end)."""
        self.nodes[node.id] = node
        siblings = self.siblings(node)
        siblings.insert(len(siblings) if index is None else index, node.id)
        if isinstance(node, Page):
            self._remember(node)

    def create_blocks(
        self, parent: Node, drafts: Iterable[Draft], actor: str, index: int | None = None
    ) -> list[Block]:
        """Create drafts under ``parent`` from ``index`` on; return the first-level blocks."""
        drafts = list(drafts)
        self._count(sum(draft.count() for draft in drafts))
        made = [self._plant(parent, draft, actor) for draft in drafts]
        at = len(parent.children) if index is None else index
        parent.children[at:at] = [block.id for block in made]
        if made:
            self.touched(parent, actor, made)
        return made

    def update_block(self, block: Block, body: Json, actor: str) -> None:
        """Replace a block's payload."""
        block.body = body
        self._attach(body, body.get("icon"))
        self.touched(block, actor, [block])

    def create_page(self, page: Page, actor: str, index: int | None = None) -> Page:
        """Add a new page to the tree and announce it."""
        self._count(1)
        self.add(page, index)
        self._attach_page(page)
        parent = self.nodes.get(page.parent.id)
        if isinstance(parent, Page | Block):
            self.touched(parent, actor, [page])
        self._changed(page, "page.created", page, actor)
        return page

    def set_page(self, page: Page, actor: str, properties: dict[str, Json]) -> None:
        """Change property values (all of ``properties`` exist in the page's schema)."""
        page.properties.update(properties)
        self._attach_page(page)
        self._stamp(page, actor)
        ids = tuple(value["id"] for value in properties.values())
        self._changed(page, "page.properties_updated", page, actor, properties=ids)

    def trash(self, node: Node, actor: str) -> None:
        """Move ``node`` to the trash."""
        self._set_trash(node, actor, trashed=True)

    def restore(self, node: Node, actor: str) -> None:
        """Restore ``node`` from the trash to its old position."""
        self._set_trash(node, actor, trashed=False)

    def move(self, node: Node, parent: Node, index: int, actor: str) -> None:
        """Move ``node`` to ``index`` among the children of ``parent`` (counted without it)."""
        old = self.nodes.get(node.parent.id)
        self.siblings(node).remove(node.id)
        node.parent = Parent("page_id" if isinstance(parent, Page) else "block_id", parent.id)
        parent.children.insert(index, node.id)
        if old is not None and old is not parent:
            self.touched(old, actor, [node])
        self.touched(parent, actor, [node])
        if isinstance(node, Page):
            self._changed(node, "page.moved", node, actor)

    def touched(self, node: Node, actor: str, nodes: Iterable[Node]) -> None:
        """Stamp ``node`` and its page as edited now by ``actor`` and announce the change."""
        page = self.page_of(node)
        self._stamp(node, actor)
        if page is not None:
            self._stamp(page, actor)
            ids = tuple(each.id for each in nodes)
            self._changed(page, "page.content_updated", page, actor, blocks=ids)

    def announce(self, change: Change) -> None:
        """Call the listeners."""
        for listener in self.listeners:
            listener(change)

    def _attach_page(self, page: Page) -> None:
        files = (value["files"] for value in page.properties.values() if value["type"] == "files")
        self._attach(page.icon, page.cover, *(each for value in files for each in value))

    def _attach(self, *values: object) -> None:
        """Mark the uploads in these values as attached, so that they do not expire."""
        for value in values:
            if isinstance(value, dict) and value.get("type") == "file_upload":
                self.uploads[value["file_upload"]["id"]].attached = True

    def _plant(self, parent: Node, draft: Draft, actor: str) -> Block:
        now = self.clock.now()
        block = Block(
            id=self.new_id(),
            workspace_id=parent.workspace_id,
            parent=Parent("page_id" if isinstance(parent, Page) else "block_id", parent.id),
            created_at=now,
            edited_at=now,
            created_by=actor,
            edited_by=actor,
            type=draft.type,
            body=draft.body,
        )
        self.nodes[block.id] = block
        block.children = [self._plant(block, child, actor).id for child in draft.children]
        self._attach(draft.body, draft.body.get("icon"))
        return block

    def _set_trash(self, node: Node, actor: str, *, trashed: bool) -> None:
        node.trashed = trashed
        self._stamp(node, actor)
        parent = self.nodes.get(node.parent.id)
        if isinstance(parent, Page | Block):
            self.touched(parent, actor, [node])
        kind = {Page: "page", DataSource: "data_source", Database: "database"}.get(type(node))
        if kind is not None:
            self._changed(node, f"{kind}.{'deleted' if trashed else 'undeleted'}", node, actor)

    def _stamp(self, node: Node, actor: str) -> None:
        node.edited_at = self.clock.now()
        node.edited_by = actor
        if isinstance(node, Page):
            self._remember(node)

    def _remember(self, page: Page) -> None:
        """Record the page's entry for search, one per minute and title."""
        entry = (self.clock.now(), self.title_of(page), page.edited_at)
        last = page.history[-1] if page.history else None
        if last is not None and (last[1], last[2] // 60) == (entry[1], entry[2] // 60):
            return
        page.history.append(entry)

    def _count(self, blocks: int) -> None:
        limit = self.config.block_limit
        if limit is not None and self.created_blocks + blocks > limit:
            # https://developers.notion.com/reference/workspace-block-limits
            raise NotionError(
                403,
                "restricted_resource",
                "This workspace has used all of its free blocks. Upgrade the plan to add more.",
                extra={"block_limit": "block_creation"},
            )
        self.created_blocks += blocks

    def _changed(
        self,
        page: Node,
        kind: str,
        entity: Node,
        actor: str,
        *,
        blocks: tuple[str, ...] = (),
        properties: tuple[str, ...] = (),
    ) -> None:
        self.revisions[page.id] = self.revisions.get(page.id, 0) + 1
        self.announce(
            Change(
                type=kind,
                entity_id=entity.id,
                entity=kind.partition(".")[0],
                workspace_id=entity.workspace_id,
                actor_id=actor,
                at=self.clock.now(),
                blocks=blocks,
                properties=properties,
            )
        )
