"""Notion in the simulation: the sandbox's real world and API, and the author of each block."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

import msgspec
from yarl import URL

from cloud_broker.sandbox.api.call import Answer, Call
from cloud_broker.sandbox.control.bodies import PageBody
from cloud_broker.sandbox.control.edits import make_page, tree
from cloud_broker.sandbox.errors import NotionError
from cloud_broker.sandbox.front import find
from cloud_broker.sandbox.grants import mint
from cloud_broker.sandbox.model import Block, Config, Json, User, Workspace
from cloud_broker.sandbox.model import Page as Leaf
from cloud_broker.sandbox.render import NEW, Renderer
from cloud_broker.sandbox.shapes.checks import UNDEFINED
from cloud_broker.sandbox.world import World
from tests.chaos.script import OUTLINE
from tests.chaos.sim.machine import Machine
from tests.chaos.sim.trace import Trace
from tests.stack.notion import Page

ORIGIN: ContextVar[str] = ContextVar("ORIGIN", default="")
"""Whose request is under way: a daemon's name; it travels with the request to Notion."""


class Notion:
    """One workspace of one person, with our bot connected to it."""

    def __init__(self, machine: Machine, trace: Trace, seed: int) -> None:
        """``machine`` has Notion's clock."""
        self.machine = machine
        self._trace = trace
        self.world = World(machine, seed=seed, config=Config(rate_per_token=None))
        self.workspace = self.world.new_id()
        self.person = self.world.new_id()
        self.world.users[self.person] = User(self.person, "person", "Mira", "mira@example.com")
        self.world.workspaces[self.workspace] = Workspace(
            self.workspace, "Mira's", None, (self.person,)
        )
        self.world.roots[self.workspace] = []
        self.token = mint(self.world, self.person, self.workspace)
        self.pages: list[Page] = []
        self.made_by: dict[str, str] = {}
        self.request_of: dict[str, int] = {}
        self.writes = 0

    def open_pages(self, count: int) -> None:
        """Let the person make some pages; they are a day old."""
        self.machine.ahead_s -= 86_400.0
        for number in range(count):
            body = PageBody(title=f"Sim {number}", outline=OUTLINE, workspace_id=self.workspace)
            page = make_page(self.world, body)
            self.pages.append(Page(page.id, f"Sim {number}", tree(self.world, page)))
        self.machine.ahead_s += 86_400.0

    def apply(
        self, method: str, url: URL, headers: Mapping[str, str], raw: bytes
    ) -> Answer | NotionError:
        """Check and carry out one request, all at once, as Notion does."""
        endpoint, ids = find(method, url.path)
        assert endpoint is not None, f"the broker sends only what exists: {method} {url.path}"
        assert headers["Authorization"] == f"Bearer {self.token.access}"
        call = Call(
            self.world,
            self.token,
            headers["Notion-Version"],
            ids,
            dict(url.query),
            msgspec.json.decode(raw) if raw else UNDEFINED,
            "http://notion.example",
        )
        try:
            answer = endpoint.act(call)
        except NotionError as error:
            return error
        if method != "GET" and answer.resource:
            self._note(answer, method, url.path)
        return answer

    def _note(self, answer: Answer, method: str, path: str) -> None:
        self.writes += 1
        origin = ORIGIN.get()
        made = (*answer.created, *((answer.resource,) if path == "/v1/pages" else ()))
        for block in made:
            self.made_by[block] = origin
            self.request_of[block] = self.writes
        self._trace.note("notion", f"applied {method} {path[-45:]} for {origin}: {len(made)} made")

    # --- looking, for the people and the judge

    def page(self, page_id: str) -> Leaf:
        """The page's node."""
        node = self.world.nodes[page_id]
        assert isinstance(node, Leaf)
        return node

    def children(self, page_id: str) -> list[Block]:
        """The page's living first-level blocks."""
        return [n for n in self.world.living(self.page(page_id)) if isinstance(n, Block)]

    def shown(self, block: Block) -> Json:
        """A block with all that is in it, as the judge reads it."""
        view = Renderer(self.world, NEW).block(block)
        view["children"] = tree(self.world, block)
        return view
