"""A user edits a page between two clips: the position of the second, and the calls it takes.

One edit each, at the sandbox, without an event stream and without fresh section ends.
"""

from __future__ import annotations

import pytest

from clipperd.errors import PlaceGone
from clipperd.model import REASONS, Position
from tests.clipperd.outline.outline_on_sandbox import SCOPE, OutlineOnSandbox

OUTLINE = "intro\n## Inbox\nmilk\neggs\n## Later\nkept"
UNTOUCHED = ["intro", "Inbox", "milk", "eggs", "Later", "kept"]


class Scene:
    """A page with an old stored outline, and clips to its Inbox."""

    def __init__(self, on: OutlineOnSandbox, ids: dict[str, str]) -> None:
        self.on, self.ids = on, ids
        self.page = ids["page"]

    def person(self, op: str, **more: str) -> str:
        return self.on.person(op, **{"page_id": self.page, **more})

    async def clip(self, kind: str = "end_of_section", **more: str) -> int:
        """Send the clip; return the Notion calls."""
        position = Position(kind, heading_id=self.ids["Inbox"], **more)  # type: ignore[arg-type]
        before = self.on.stage.total()
        await self.on.clip(self.page, position, "CLIP")
        return self.on.stage.total() - before

    async def asks(self) -> tuple[str, int]:
        """Send a clip to a lost position; return the reason and the Notion calls."""
        before = self.on.stage.total()
        with pytest.raises(PlaceGone) as caught:
            await self.clip()
        calls = self.on.stage.total() - before
        assert caught.value.reads <= calls
        return caught.value.reason, calls

    def lines(self) -> list[str]:
        return self.on.lines(self.page)


async def known(on: OutlineOnSandbox, outline: str = OUTLINE) -> Scene:
    scene = Scene(on, on.page(outline))
    on.stage.clock.advance(600)
    await on.outlines.get(SCOPE, scene.page)
    on.stage.clock.advance(600)
    return scene


# --- the stored end of the section


async def test_the_last_block_was_moved_away(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("move", block_id=scene.ids["eggs"], after=scene.ids["kept"])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "CLIP", "Later", "kept", "eggs"]


async def test_the_last_block_was_moved_to_another_page(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    other = on.page("elsewhere")["page"]
    on.person("move", block_id=scene.ids["eggs"], parent_id=other)
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "CLIP", "Later", "kept"]


async def test_the_last_block_was_deleted(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("delete", block_id=scene.ids["eggs"])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "CLIP", "Later", "kept"]


async def test_all_of_the_section_was_deleted(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    for text in ("milk", "eggs"):
        scene.person("delete", block_id=scene.ids[text])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "CLIP", "Later", "kept"]


async def test_something_was_inserted_after_the_last_block(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("insert", after=scene.ids["eggs"], text="bread\njam")
    assert await scene.clip() == 2
    due = ["intro", "Inbox", "milk", "eggs", "bread", "jam", "CLIP", "Later", "kept"]
    assert scene.lines() == due


async def test_the_last_block_was_nested_under_the_one_before(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("move", block_id=scene.ids["eggs"], parent_id=scene.ids["milk"])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "  eggs", "CLIP", "Later", "kept"]


async def test_the_last_block_became_a_heading(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    on.turn(scene.ids["eggs"], "## eggs")
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "CLIP", "eggs", "Later", "kept"]


# --- the section


async def test_the_section_was_split(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("insert", after=scene.ids["milk"], text="## New")
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "CLIP", "New", "eggs", "Later", "kept"]


async def test_a_heading_below_it_was_inserted(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("insert", after=scene.ids["milk"], text="### Below")
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "Below", "eggs", "CLIP", "Later", "kept"]


async def test_the_next_heading_was_deleted(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("delete", block_id=scene.ids["Later"])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "milk", "eggs", "kept", "CLIP"]


async def test_the_whole_section_was_moved(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    for text in ("eggs", "milk", "Inbox"):
        scene.person("move", block_id=scene.ids[text], after=scene.ids["kept"])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Later", "kept", "Inbox", "milk", "eggs", "CLIP"]


# --- the heading


async def test_the_heading_was_renamed(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("update", block_id=scene.ids["Inbox"], text="Errands")
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Errands", "milk", "eggs", "CLIP", "Later", "kept"]
    outline = await on.outlines.get(SCOPE, scene.page, "cached")
    assert outline.headings[0].text == "Errands"


async def test_the_heading_was_demoted(on: OutlineOnSandbox) -> None:
    scene = await known(on, "## Inbox\nmilk\n### Food\neggs\n## Later")
    on.turn(scene.ids["Inbox"], "### Inbox")
    assert await scene.clip() == 2
    assert scene.lines() == ["Inbox", "milk", "CLIP", "Food", "eggs", "Later"]


async def test_the_heading_was_promoted(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    on.turn(scene.ids["Inbox"], "# Inbox")
    assert await scene.clip() == 2
    assert scene.lines() == [*UNTOUCHED, "CLIP"]


async def test_the_heading_became_a_toggle(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    on.turn(scene.ids["Inbox"], "+# Inbox")
    scene.person("move", block_id=scene.ids["milk"], parent_id=scene.ids["Inbox"])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "Inbox", "  milk", "  CLIP", "eggs", "Later", "kept"]


async def test_the_toggle_heading_became_a_plain_one(on: OutlineOnSandbox) -> None:
    scene = await known(on, "+# Inbox\n  milk\n## Later\nkept")
    scene.person("move", block_id=scene.ids["milk"], after=scene.ids["Inbox"])
    on.turn(scene.ids["Inbox"], "## Inbox")
    assert await scene.clip() == 3  # refused, read from the heading on, written
    assert scene.lines() == ["Inbox", "milk", "CLIP", "Later", "kept"]


async def test_the_heading_alone_was_moved(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("move", block_id=scene.ids["Inbox"], after=scene.ids["kept"])
    assert await scene.clip() == 2
    assert scene.lines() == ["intro", "milk", "eggs", "Later", "kept", "Inbox", "CLIP"]


async def test_the_heading_was_moved_and_the_clip_goes_right_after_it(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("move", block_id=scene.ids["Inbox"], after=scene.ids["Later"])
    assert await scene.clip("after_heading") == 1
    assert scene.lines() == ["intro", "milk", "eggs", "Later", "Inbox", "CLIP", "kept"]


async def test_the_heading_was_deleted(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("delete", block_id=scene.ids["Inbox"])
    assert await scene.asks() == ("heading_gone", 3)  # refused as a cursor; itself; the page
    assert REASONS["heading_gone"] == "That heading is gone from the page. Choose another position."
    assert scene.lines() == ["intro", "milk", "eggs", "Later", "kept"]


async def test_the_heading_was_deleted_and_the_end_of_the_page_will_do(
    on: OutlineOnSandbox,
) -> None:
    scene = await known(on)
    scene.person("delete", block_id=scene.ids["Inbox"])
    assert await scene.clip(if_gone="end_of_page") == 4
    assert scene.lines() == ["intro", "milk", "eggs", "Later", "kept", "CLIP"]


async def test_the_heading_became_text(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    on.turn(scene.ids["Inbox"], "Inbox")
    assert await scene.asks() == ("heading_gone", 1)
    assert scene.lines() == UNTOUCHED


async def test_the_heading_was_moved_to_another_page(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    other = on.page("elsewhere")["page"]
    on.person("move", block_id=scene.ids["Inbox"], parent_id=other)
    assert await scene.asks() == ("heading_gone", 3)
    assert on.lines(other) == ["elsewhere", "Inbox"]


async def test_there_are_two_headings_of_that_name_now(on: OutlineOnSandbox) -> None:
    scene = await known(on)
    scene.person("insert", text="## Inbox")
    position = Position("end_of_section", heading_text="Inbox")
    with pytest.raises(PlaceGone) as caught:
        await on.clip(scene.page, position, "CLIP")
    assert caught.value.reason == "heading_ambiguous"
    path = Position("end_of_section", heading_text="Later")
    await on.clip(scene.page, path, "CLIP")
    assert scene.lines() == [*UNTOUCHED, "CLIP", "Inbox"]


async def test_the_heading_was_renamed_and_the_clip_knows_its_text_only(
    on: OutlineOnSandbox,
) -> None:
    scene = await known(on)
    scene.person("update", block_id=scene.ids["Inbox"], text="Errands")
    position = Position("end_of_section", heading_text="Inbox")
    with pytest.raises(PlaceGone) as caught:
        await on.clip(scene.page, position, "CLIP")
    assert (caught.value.reason, caught.value.reads) == ("heading_gone", 2)


# --- the containers of the heading


NESTED = "intro\n+ Lists\n  ## Inbox\n  milk\n  eggs\nkept"


@pytest.mark.parametrize("box", ["+", "!"], ids=["toggle", "callout"])
async def test_something_was_inserted_in_a_section_inside_a_box(
    on: OutlineOnSandbox, box: str
) -> None:
    scene = await known(on, NESTED.replace("+", box))
    inserted = {"parent_id": scene.ids["Lists"], "after": scene.ids["eggs"], "text": "bread"}
    scene.person("insert", **inserted)
    assert await scene.clip() == 2
    inside = ["  Inbox", "  milk", "  eggs", "  bread", "  CLIP"]
    assert scene.lines() == ["intro", "Lists", *inside, "kept"]


async def test_the_section_was_moved_into_a_toggle(on: OutlineOnSandbox) -> None:
    scene = await known(on, "## Inbox\nmilk\n## Later\n+ Lists\n  old")
    for text in ("Inbox", "milk"):
        scene.person("move", block_id=scene.ids[text], parent_id=scene.ids["Lists"])
    assert await scene.clip() == 4  # refused as a cursor; the heading, its section; written
    assert scene.lines() == ["Later", "Lists", "  old", "  Inbox", "  milk", "  CLIP"]


async def test_the_section_was_moved_out_of_a_toggle(on: OutlineOnSandbox) -> None:
    scene = await known(on, NESTED)
    for text in ("eggs", "milk", "Inbox"):
        scene.person("move", block_id=scene.ids[text], after=scene.ids["Lists"])
    assert await scene.clip() == 4
    assert scene.lines() == ["intro", "Lists", "Inbox", "milk", "eggs", "kept", "CLIP"]
    on.stage.clock.advance(30)
    assert await scene.clip() == 2  # its new place is known


async def test_the_section_was_moved_into_a_toggle_in_a_toggle(on: OutlineOnSandbox) -> None:
    scene = await known(on, "## Inbox\nmilk\n## Later\n+ Lists\n  + Deep\n    old")
    for text in ("Inbox", "milk"):
        scene.person("move", block_id=scene.ids[text], parent_id=scene.ids["Deep"])
    assert await scene.clip() == 4
    assert scene.lines()[-4:] == ["    old", "    Inbox", "    milk", "    CLIP"]


async def test_a_heading_too_deep_for_the_outline_is_found_by_its_id(on: OutlineOnSandbox) -> None:
    scene = await known(on, "+ Lists\n  + Deep\n    + Deeper\n      ## Inbox\n      milk")
    assert await scene.clip() == 4  # the heading, its container, its section; written
    assert scene.lines()[-3:] == ["      Inbox", "      milk", "      CLIP"]


async def test_the_heading_was_moved_into_a_toggle_and_the_clip_goes_right_after_it(
    on: OutlineOnSandbox,
) -> None:
    scene = await known(on, "## Inbox\n+ Lists\n  old")
    scene.person("move", block_id=scene.ids["Inbox"], parent_id=scene.ids["Lists"])
    assert await scene.clip("after_heading") == 5  # refused; read as above; written
    assert scene.lines() == ["Lists", "  old", "  Inbox", "  CLIP"]


async def test_the_container_of_the_heading_was_moved_to_another_page(on: OutlineOnSandbox) -> None:
    scene = await known(on, NESTED)
    other = on.page("elsewhere")["page"]
    on.person("move", block_id=scene.ids["Lists"], parent_id=other)
    assert await scene.clip() == 2  # the section is read, its page is not
    assert on.lines(other)[1:] == ["Lists", "  Inbox", "  milk", "  eggs", "  CLIP"]


async def test_the_container_of_the_heading_was_deleted(on: OutlineOnSandbox) -> None:
    scene = await known(on, NESTED)
    scene.person("delete", block_id=scene.ids["Lists"])
    assert (await scene.asks())[0] == "heading_gone"
    assert scene.lines() == ["intro", "kept"]


# --- long pages: read from the last known heading, not from the top


LONG = "\n".join([*(f"line {n}" for n in range(400)), "## Inbox", "milk", "eggs", "## Later"])


async def test_far_down_a_long_page_the_last_block_was_deleted(on: OutlineOnSandbox) -> None:
    scene = await known(on, LONG)
    scene.person("delete", block_id=scene.ids["eggs"])
    assert await scene.clip() == 2
    assert scene.lines()[400:] == ["Inbox", "milk", "CLIP", "Later"]


async def test_far_down_a_long_page_the_heading_was_deleted(on: OutlineOnSandbox) -> None:
    scene = await known(on, LONG)
    scene.person("delete", block_id=scene.ids["Inbox"])
    assert await scene.asks() == ("heading_gone", 3)


async def test_far_down_a_long_page_the_section_was_moved_into_a_toggle(
    on: OutlineOnSandbox,
) -> None:
    scene = await known(on, LONG + "\n+ Lists\n  old")
    for text in ("Inbox", "milk", "eggs"):
        scene.person("move", block_id=scene.ids[text], parent_id=scene.ids["Lists"])
    assert await scene.clip() == 4
    assert scene.lines()[-4:] == ["  Inbox", "  milk", "  eggs", "  CLIP"]


async def test_far_down_a_long_page_the_place_was_refused(on: OutlineOnSandbox) -> None:
    scene = await known(on, LONG)
    assert await scene.clip() == 2
    scene.person("delete", block_id=on.blocks(scene.page)["CLIP"])  # while the section end is fresh
    assert await scene.clip() == 3  # refused, read from the heading on, written
    assert scene.lines()[400:] == ["Inbox", "milk", "eggs", "CLIP", "Later"]


async def test_in_a_very_long_section_the_last_block_was_deleted(on: OutlineOnSandbox) -> None:
    lines = "\n".join(f"line {n}" for n in range(150))
    scene = await known(on, f"## Inbox\n{lines}\n## Later")
    scene.person("delete", block_id=scene.ids["line 149"])
    assert await scene.clip() == 4  # refused as a cursor; two listings from the heading on; written
    assert scene.lines()[-3:] == ["line 148", "CLIP", "Later"]


async def test_in_a_very_long_section_something_was_inserted_at_its_end(
    on: OutlineOnSandbox,
) -> None:
    lines = "\n".join(f"line {n}" for n in range(150))
    scene = await known(on, f"## Inbox\n{lines}\n## Later")
    scene.person("insert", after=scene.ids["line 149"], text="typed")
    assert await scene.clip() == 2  # from the old end on
    assert scene.lines()[-3:] == ["typed", "CLIP", "Later"]
