"""Holds Notion's limits on blocks and requests.

Sources: developers.notion.com/reference/request-limits, /reference/patch-block-children, and the
request types of @notionhq/client 5.26 (BlockObjectRequest, LanguageRequest, ApiColor).
"""

from __future__ import annotations

TEXT_UNITS = 2000
"""Longest ``text.content`` of one run, in UTF-16 code units."""

RUNS = 100
"""Most runs in one rich text, caption or table cell."""

URL_UNITS = 2000
"""Longest URL."""

EXPRESSION_UNITS = 1000
"""Longest equation."""

CHILDREN = 100
"""Most blocks in any array of one request."""

DEPTH = 2
"""Levels of nesting below the first level of one request."""

ELEMENTS = 1000
"""Most blocks, nested ones included, in one request."""

REQUEST_BYTES = 450_000
"""Our cap on one request's blocks as compact JSON; Notion refuses from 500 KB on."""

BLOCK_BYTES = 150_000
"""Our cap on one block without its children, which leaves room for its required rows."""

TABLE_WIDTH = 100
"""Most cells in a table row."""

TREE_DEPTH = 200
"""Deepest tree accepted; at three JSON levels a block it stays below Python's recursion limit."""

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
