"""Parses short outlines into blocks, for the seed world, tests and the edit route."""

from __future__ import annotations

import re

from cloud_broker.sandbox.model import Draft, Json
from cloud_broker.sandbox.shapes.rich_text import text_runs

_TYPES: tuple[tuple[str, str, Json], ...] = (
    (r"\+# ", "heading_2", {"color": "default", "is_toggleable": True}),
    (r"#### ", "heading_4", {"color": "default", "is_toggleable": False}),
    (r"### ", "heading_3", {"color": "default", "is_toggleable": False}),
    (r"## ", "heading_2", {"color": "default", "is_toggleable": False}),
    (r"# ", "heading_1", {"color": "default", "is_toggleable": False}),
    (r"- ", "bulleted_list_item", {"color": "default"}),
    (r"\d+\. ", "numbered_list_item", {"color": "default"}),
    (r"\[x\] ", "to_do", {"color": "default", "checked": True}),
    (r"\[ \] ", "to_do", {"color": "default", "checked": False}),
    (r"> ", "quote", {"color": "default"}),
    (r"! ", "callout", {"color": "gray_background", "icon": {"type": "emoji", "emoji": "💡"}}),
    (r"\+ ", "toggle", {"color": "default"}),
    (r"---\Z", "divider", {}),
    (r"", "paragraph", {"color": "default", "icon": None}),
)
_RULES = tuple((re.compile(mark), kind, body) for mark, kind, body in _TYPES)


def read_outline(text: str) -> list[Draft]:
    """Parse lines into drafts; two more spaces of indent make a line a child of the line above."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _read_level([(_indent(line), line.strip()) for line in lines])


def block_of(line: str) -> Draft:
    """Parse one line."""
    for mark, kind, body in _RULES:
        found = mark.match(line)
        if found is not None:
            shown = dict(body)
            if kind != "divider":
                shown["rich_text"] = text_runs(line[found.end() :])
            return Draft(kind, shown)
    raise AssertionError("the last rule matches everything")


def _indent(line: str) -> int:
    return (len(line) - len(line.lstrip(" "))) // 2


def _read_level(lines: list[tuple[int, str]]) -> list[Draft]:
    drafts: list[Draft] = []
    at = 0
    while at < len(lines):
        depth, line = lines[at]
        end = at + 1
        while end < len(lines) and lines[end][0] > depth:
            end += 1
        head = block_of(line)
        drafts.append(Draft(head.type, head.body, tuple(_read_level(lines[at + 1 : end]))))
        at = end
    return drafts
