"""After any edits by users, a clip lands in its section or needs the user's decision."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipperd.errors import PlaceGone
from clipperd.model import Position
from cloud_broker.sandbox.model import Block, Node
from tests.clipperd.outline.outline_on_sandbox import SCOPE, OutlineOnSandbox, sandboxed

START = (
    "## A\na1\n### B\nb1\n+ Box\n  ## C\n  c1\n  + Inner\n    ## D\n    d1\n"
    "## E\n+# T\n  t1\n  ## F\n## G\ng1"
)
INSERTED = ("typed", "# New", "### New", "+ New\n  inside", "+# New\n  inside")
TURNED = ("# {}", "## {}", "### {}", "{}", "+ {}", "+# {}")
PICK = st.integers(0, 999)
EDITS = st.one_of(
    st.tuples(st.just("insert"), PICK, st.sampled_from(INSERTED)),
    st.tuples(st.just("move"), PICK, PICK),
    st.tuples(st.just("turn"), PICK, st.sampled_from(TURNED)),
    st.tuples(st.just("delete"), PICK, st.just("")),
)
CLIPS = st.tuples(st.sampled_from(["end_of_section", "after_heading"]), PICK, st.just(""))
STEPS = st.lists(st.one_of(EDITS, EDITS, CLIPS), max_size=12)


class Page:
    """One page that users and the daemon edit in turn, and its invariants."""

    def __init__(self, on: OutlineOnSandbox) -> None:
        self.on, self.world = on, on.stage.world
        self.ids = on.page(START)
        self.page = self.ids["page"]
        self.headings = [self.ids[name] for name in "ABCDEFGT"]
        self.clips = 0

    def blocks(self, parent: str | None = None) -> list[Block]:
        """All blocks on the page, in order."""
        found: list[Block] = []
        for node in self.world.living(self.world.nodes[parent or self.page]):
            assert isinstance(node, Block)
            found += [node, *self.blocks(node.id)]
        return found

    def people(self, what: str, pick: int, more: str | int) -> None:
        blocks = self.blocks()
        if not blocks:
            return
        block = blocks[pick % len(blocks)]
        match what, more:
            case "insert", str(text):
                where = {"parent_id": block.parent.id, "after": block.id, "text": text}
                self.on.person("insert", **where)
            case "delete", _:
                self.on.person("delete", block_id=block.id)
            case "turn", str(line) if not block.children or line.startswith("+"):
                self.on.turn(block.id, line.format(f"turned {pick}"))
            case "move", int(to):
                self.move(block, blocks[to % len(blocks)])
            case _:
                pass

    def move(self, block: Block, to: Block) -> None:
        """Move after ``to``, or into it if it can have children."""
        if any(each is block for each in self.world.ancestry(to)):
            return
        if to.type == "toggle" or to.body.get("is_toggleable"):
            self.on.person("move", block_id=block.id, parent_id=to.id)
        else:
            self.on.person("move", block_id=block.id, parent_id=to.parent.id, after=to.id)

    def places(self, kind: str, heading_id: str) -> list[tuple[str, str | None]]:
        """Return the expected parent and the block before the clip; None if the heading is gone."""
        heading = self.world.nodes[heading_id]
        if heading not in self.blocks():
            return []
        assert isinstance(heading, Block)
        # A toggle heading that became a plain toggle keeps its section.
        is_toggle = heading.type == "toggle" or bool(heading.body.get("is_toggleable"))
        if kind == "after_heading":  # the block is not read again
            return [(heading.parent.id, heading.id), *([(heading.id, None)] if is_toggle else [])]
        if is_toggle:
            inside = self.world.living(heading)
            return [(heading.id, inside[-1].id if inside else None)]
        if not level(heading):
            return []
        siblings = self.world.living(self.world.nodes[heading.parent.id])
        end = heading.id
        for node in siblings[siblings.index(heading) + 1 :]:
            if 0 < level(node) <= level(heading):
                break
            end = node.id
        return [(heading.parent.id, end)]

    async def clip(self, kind: str, pick: int) -> None:
        heading = self.headings[pick % len(self.headings)]
        expected = self.places(kind, heading)
        position = Position(kind, heading_id=heading)  # type: ignore[arg-type]
        self.clips += 1
        why = await self.asks(position)
        if why is not None:
            assert why == "heading_gone"
            assert not expected or not level(self.world.nodes[heading])
            return
        made = self.on.blocks(self.page)[f"clip {self.clips}"]
        parent = self.world.nodes[made].parent.id
        siblings = [node.id for node in self.world.living(self.world.nodes[parent])]
        at = siblings.index(made)
        assert (parent, siblings[at - 1] if at else None) in expected

    async def asks(self, position: Position) -> str | None:
        """Send a clip; return the reason if it needs a decision, else None."""
        try:
            await self.on.clip(self.page, position, f"clip {self.clips}", "more")
        except PlaceGone as gone:
            return gone.reason
        return None


def level(node: Node) -> int:
    kind = node.type if isinstance(node, Block) else ""
    return int(kind[-1]) if kind.startswith("heading_") else 0


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[asyncio.Runner, OutlineOnSandbox]]:
    """One sandbox for all examples, each with a page of its own."""
    with asyncio.Runner() as runner:
        made = sandboxed(tmp_path_factory.mktemp("edits"))
        yield runner, runner.run(made.__aenter__())
        runner.run(made.__aexit__(None, None, None))


@settings(max_examples=120, deadline=None)
@given(steps=STEPS)
@example(steps=[("turn", 14, "+ {}"), ("after_heading", 7, ""), ("end_of_section", 7, "")])
def test_after_any_edits_a_clip_lands_in_its_section(
    lab: tuple[asyncio.Runner, OutlineOnSandbox], steps: list[tuple[str, int, str | int]]
) -> None:
    runner, on = lab

    async def play() -> None:
        page = Page(on)
        await on.outlines.get(SCOPE, page.page)
        for what, pick, more in steps:
            if what in ("end_of_section", "after_heading"):
                await page.clip(what, pick)
            else:
                page.people(what, pick, more)
                on.stage.clock.advance(30)  # longer than a section end stays fresh

    runner.run(play())
