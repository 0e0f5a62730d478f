"""For any input an endpoint answers or refuses in Notion's way, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_broker.sandbox import grants, seed
from cloud_broker.sandbox.api import blocks, databases, pages, search, uploads
from cloud_broker.sandbox.api.call import Answer, Call
from cloud_broker.sandbox.errors import NotionError
from cloud_broker.sandbox.render import VERSIONS
from cloud_broker.sandbox.shapes.block_types import TYPES
from cloud_broker.sandbox.world import World
from tests.clocks import ManualClock

KEYS = """type rich_text text content link url annotations color children mention equation
expression external file_upload id caption cells table_width icon emoji date start language
is_toggleable synced_from block_id page_id data_source_id parent properties title Name Status Tags
Due name filter and or property timestamp last_edited_time on_or_after contains equals greater_than
sorts direction query sort value in_trash position after_block page_size start_cursor mode filename
number_of_parts"""
WORDS = (*TYPES, *KEYS.split())
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(("http://[", "http://e", seed.EMPTY_PAGE, seed.DATA_SOURCE, "end", "red"))
    | st.sampled_from(WORDS)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=25,
)
BLOCKS = st.lists(
    st.sampled_from(tuple(TYPES)).flatmap(lambda name: st.fixed_dictionaries({name: VALUES})),
    max_size=3,
)
WORLD = seed.plant(World(ManualClock()))
TOKEN = grants.mint(WORLD, seed.MIRA, seed.WORKSPACE)
IDS = {
    "block_id": seed.EMPTY_PAGE,
    "page_id": seed.row_id(0),
    "data_source_id": seed.DATA_SOURCE,
}


def attempt(act: Callable[[Call], Answer], body: Any, version: str) -> None:
    try:
        act(Call(WORLD, TOKEN, version, IDS, {}, body, "http://sandbox"))
    except NotionError as error:
        if not 400 <= error.status < 500:
            raise


@pytest.mark.parametrize(
    "act",
    [blocks.append, blocks.update, pages.create, pages.update, databases.query, search.search],
)
@settings(max_examples=60, deadline=None)
@given(body=VALUES, version=st.sampled_from(VERSIONS))
def test_any_body(act: Callable[[Call], Answer], body: Any, version: str) -> None:
    attempt(act, body, version)


@settings(max_examples=200, deadline=None)
@given(children=BLOCKS)
def test_any_blocks(children: Any) -> None:
    attempt(blocks.append, {"children": children}, VERSIONS[-1])


@settings(max_examples=60, deadline=None)
@given(value=VALUES)
def test_any_value_under_known_keys(value: Any) -> None:
    attempt(databases.query, {"filter": value}, VERSIONS[-1])
    for kind in ("status", "multi_select", "date", "url"):
        name = {"status": "Status", "multi_select": "Tags", "date": "Due", "url": "Link"}[kind]
        attempt(pages.update, {"properties": {name: {kind: value}}}, VERSIONS[-1])
        condition = {"property": name, kind: {"contains": value}}
        attempt(databases.query, {"filter": condition}, VERSIONS[-1])
    attempt(uploads.create, {"filename": value, "mode": value}, VERSIONS[-1])
