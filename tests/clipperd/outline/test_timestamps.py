"""Notion rounds a page's time to the minute, but no read takes an edited page for unchanged.

The sandbox does the rounding, on a clock that moves only when an example says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipperd.outline.timestamps import SKEW_S
from tests.clipperd.outline.outline_on_sandbox import SCOPE, OutlineOnSandbox, sandboxed


class Round(msgspec.Struct, frozen=True):
    """After ``before_s`` a user may edit; ``until_s`` later the outline is read.

    Each call of the read takes ``there_s`` to Notion and its response ``back_s`` back; a user may
    edit in between (``meanwhile``), after Notion has read.
    """

    before_s: float
    edit: str
    until_s: float
    there_s: float
    meanwhile: str
    back_s: float


EDITS = st.sampled_from(["insert", "rename", "delete", ""])
# Mostly a few seconds, to fall on both sides of the end of a minute; else a minute or two.
WAITS = st.one_of(st.floats(0, 7), st.floats(0, 130))
SLOW = st.one_of(st.just(0.0), st.just(0.0), st.floats(55, 80))
ROUNDS = st.lists(
    st.builds(Round, WAITS, EDITS, WAITS, SLOW, st.just("") | EDITS, SLOW), min_size=1, max_size=5
)


class Lab:
    """One sandbox for all examples, each with a page of its own."""

    def __init__(self, runner: asyncio.Runner, on: OutlineOnSandbox) -> None:
        self.runner, self.on = runner, on
        self._headings = 0

    def play(self, second: float, skew_s: float, rounds: list[Round]) -> None:
        """Create a page at that second of a minute, run the rounds, then read once more."""
        clock = self.on.stage.clock
        clock.advance((second - clock.now()) % 60.0)
        self.on.notion.skew_s = skew_s
        page = self.on.page("## First\ntext")["page"]
        for each in (*rounds, Round(130, "", 0, 0, "", 0)):
            clock.advance(each.before_s)
            self.edit(page, each.edit)
            clock.advance(each.until_s)
            self.runner.run(self.look(page, each))

    def edit(self, page: str, edit: str) -> None:
        headings = [block_id for text, block_id in self.on.blocks(page).items() if text != "text"]
        self._headings += 1
        match edit:
            case "insert":
                self.on.person("insert", page_id=page, text=f"## H{self._headings}")
            case "rename" if headings:
                self.on.person("update", block_id=headings[-1], text=f"H{self._headings}")
            case "delete" if headings:
                self.on.person("delete", block_id=headings[0])
            case _:
                pass

    def truth(self, page: str) -> list[str]:
        return [text for text in self.on.lines(page) if text != "text"]

    async def look(self, page: str, each: Round) -> None:
        """The outline equals the page at some moment between request and response."""
        seen = [self.truth(page)]

        def answered() -> None:
            self.edit(page, each.meanwhile)
            seen.append(self.truth(page))
            self.on.stage.clock.advance(each.back_s)

        self.on.notion.asked = lambda: self.on.stage.clock.advance(each.there_s)
        self.on.notion.answered = answered
        outline = await self.on.outlines.get(SCOPE, page)
        assert [heading.text for heading in outline.headings] in seen


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with asyncio.Runner() as runner:
        made = sandboxed(tmp_path_factory.mktemp("minute"))
        yield Lab(runner, runner.run(made.__aenter__()))
        runner.run(made.__aexit__(None, None, None))


@settings(max_examples=100, deadline=None)
@example(48.5, 9.0, [Round(0, "", 3, 0, "", 0), Round(2, "insert", 100, 0, "", 0)])  # clocks differ
@example(30.0, 0.0, [Round(0, "", 0, 0, "insert", 80)])  # the answer's Date is late
@example(30.0, 0.0, [Round(0, "", 0, 80, "insert", 0)])
@given(second=st.floats(30, 59), skew_s=st.floats(-SKEW_S, SKEW_S - 1), rounds=ROUNDS)
def test_no_read_misses_an_edit(
    lab: Lab, second: float, skew_s: float, rounds: list[Round]
) -> None:
    lab.play(second, skew_s, rounds)
