"""People at work on the same pages: they type, rewrite, move and delete, near the clips too."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from cloud_broker.sandbox.model import Block, Json
from cloud_broker.sandbox.outline import block_of
from cloud_broker.sandbox.shapes.rich_text import plain_text, text_runs
from tests.chaos.sim.notion import Notion
from tests.chaos.sim.trace import Trace
from tests.stack.notion import Page

_DEEDS = (
    ("type at the top", 0.15),
    ("type at the end", 0.25),
    ("type somewhere", 0.25),
    ("type what a clip says", 0.1),
    ("rewrite", 0.1),
    ("rewrite a clip", 0.03),
    ("delete", 0.06),
    ("delete a clip", 0.03),
    ("move", 0.03),
)


@dataclass
class Deeds:
    """What people did to clips' own blocks, which is to be accounted for."""

    before: dict[str, Json] = field(default_factory=dict)
    """The payload of a block before somebody rewrote it, by its id."""
    removed: set[str] = field(default_factory=set)
    """Blocks that somebody deleted."""


class People:
    """One pair of hands. Headings are left alone, and nobody types into the middle of a clip."""

    def __init__(self, notion: Notion, rng: random.Random, trace: Trace) -> None:
        """``rng`` is its own."""
        self.deeds = Deeds()
        self._notion = notion
        self._rng = rng
        self._trace = trace
        self._typed = 0

    def act(self) -> None:
        """One deed, if the page that was chosen allows it."""
        page = self._rng.choice(self._notion.pages)
        names, shares = zip(*_DEEDS, strict=True)
        deed = self._rng.choices(names, shares)[0]
        blocks = self._notion.children(page.id)
        texts = [block for block in blocks if "heading" not in block.type and _text(block)]
        own = [block for block in texts if block.id not in self._notion.made_by]
        clips = [block for block in texts if block.id in self._notion.made_by]
        match deed:
            case "type at the top":
                self._type(page, blocks[:1], blocks)
            case "type at the end":
                self._type(page, blocks[-1:], blocks)
            case "type somewhere":
                self._type(page, blocks, blocks)
            case "type what a clip says" if clips:
                said = _text(self._rng.choice(clips)).partition("\n")[0]
                self._type(page, blocks, blocks, said)
            case "rewrite" if own:
                self._rewrite(self._rng.choice(own))
            case "rewrite a clip" if clips:
                block = self._rng.choice(clips)
                self.deeds.before.setdefault(block.id, block.body)
                self._rewrite(block)
            case "delete" if own:
                self._delete(self._rng.choice(own))
            case "delete a clip" if clips:
                block = self._rng.choice(clips)
                self.deeds.removed.add(block.id)
                self._delete(block)
            case "move" if own:
                self._move(page, self._rng.choice(own), blocks)
            case _:
                pass

    def _type(
        self, page: Page, where: list[Block], blocks: list[Block], text: str | None = None
    ) -> None:
        after = self._rng.choice(where)
        if self._splits(after, blocks):
            return
        self._typed += 1
        said = text or f"typed {self._typed}"
        self._note(f"types {said!r} after {_text(after)!r}")
        node = self._notion.page(page.id)
        at = node.children.index(after.id) + 1
        self._notion.world.create_blocks(node, [block_of(said)], self._notion.person, at)

    def _rewrite(self, block: Block) -> None:
        self._typed += 1
        self._note(f"rewrites {_text(block)!r}")
        body = {**block.body, "rich_text": text_runs(f"rewritten {self._typed}")}
        self._notion.world.update_block(block, body, self._notion.person)

    def _delete(self, block: Block) -> None:
        self._note(f"deletes {_text(block)!r}")
        self._notion.world.trash(block, self._notion.person)

    def _move(self, page: Page, block: Block, blocks: list[Block]) -> None:
        """Never the last of a section: who writes behind it just then goes with it."""
        at = blocks.index(block)
        if at + 1 == len(blocks) or "heading" in blocks[at + 1].type:
            return
        after = self._rng.choice([each for each in blocks if each is not block])
        if self._splits(after, blocks):
            return
        self._note(f"moves {_text(block)!r} behind {_text(after)!r}")
        node = self._notion.page(page.id)
        rest = [each for each in node.children if each != block.id]
        self._notion.world.move(block, node, rest.index(after.id) + 1, self._notion.person)

    def _splits(self, after: Block, blocks: list[Block]) -> bool:
        """Whether ``after`` and what follows it are blocks of one clip."""
        at = blocks.index(after)
        if at + 1 == len(blocks):
            return False
        one, other = self._clip_of(after), self._clip_of(blocks[at + 1])
        return one is not None and one == other

    def _clip_of(self, block: Block) -> str | None:
        """What the blocks of a clip of several have in common, whatever was made of them since."""
        body = self.deeds.before.get(block.id, block.body)
        head, dot, _ = plain_text(body.get("rich_text") or []).partition(".")
        return head if dot else None

    def _note(self, what: str) -> None:
        self._trace.note("people", what)


def _text(block: Block) -> str:
    return plain_text(block.body.get("rich_text") or [])
