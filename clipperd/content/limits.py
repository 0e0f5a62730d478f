"""Holds Notion's limits on blocks and requests.

Sources: developers.notion.com/reference/request-limits, /reference/patch-block-children, and the
request types of @notionhq/client 5.26 (BlockObjectRequest, LanguageRequest, ApiColor).
"""

from __future__ import annotations

TEXT_UNITS = 2000  # UTF-16 units in the text.content of one run
RUNS = 100  # runs in one rich text, caption or table cell
URL_UNITS = 2000  # UTF-16 units in a URL
EXPRESSION_UNITS = 1000  # UTF-16 units in an equation
CHILDREN = 100  # blocks in any array of one request
DEPTH = 2  # levels of nesting below the first level of one request
ELEMENTS = 1000  # blocks in one request, nested ones included
REQUEST_BYTES = 450_000  # our cap on one request's blocks as JSON; Notion refuses from 500 KB on
BLOCK_BYTES = 150_000  # our cap on a block without its children; leaves room for required rows
TABLE_WIDTH = 100  # cells in a table row
TREE_DEPTH = 200  # levels; three JSON levels a block stay below Python's recursion limit of 1000
HEADINGS: tuple[str, ...] = ("heading_1", "heading_2", "heading_3", "heading_4")

COLORS: frozenset[str] = frozenset(
    f"{name}{suffix}"
    for name in (
        "default", "gray", "brown", "orange", "yellow", "green", "blue", "purple", "pink", "red",
    )
    for suffix in ("", "_background")
)  # fmt: skip

REQUIRED_CHILDREN: dict[str, int] = {"table": 1, "column_list": 2, "column": 1, "tab": 1}
"""Block types that Notion creates only with at least this many children."""
