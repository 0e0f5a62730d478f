"""Reads the sandbox's pages and counts its calls, as the proof of a step."""

from __future__ import annotations

from typing import Any

from clipperd.cli.demo.web import DemoFailed, fetch_json

Block = dict[str, Any]


class Sandbox:
    """A client of the sandbox's control routes (docs/sandbox.md)."""

    def __init__(self, url: str) -> None:
        """``url`` has no trailing slash."""
        self._url = url

    def page_id(self, title: str) -> str:
        """Return the id of the page with this title."""
        for page in fetch_json("GET", f"{self._url}/_sandbox/pages")["pages"]:
            if page["title"] == title:
                return str(page["id"])
        raise DemoFailed(f"The sandbox has no page {title!r}.")

    def address(self, page_id: str) -> str:
        """Return the address at which the user can watch the page."""
        return f"{self._url}/p/{page_id}"

    def blocks(self, page_id: str) -> list[Block]:
        """Return the page's top-level blocks in order."""
        return list(fetch_json("GET", f"{self._url}/_sandbox/pages/{page_id}/blocks")["blocks"])

    def forget_calls(self) -> None:
        """Reset the count of calls."""
        fetch_json("DELETE", f"{self._url}/_sandbox/calls")

    def calls(self) -> dict[str, int]:
        """Return the number of calls by route since the reset."""
        return dict(fetch_json("GET", f"{self._url}/_sandbox/calls")["by_route"])

    def fail_next_append(self) -> None:
        """Make the sandbox apply the next append and answer it with 503."""
        rule = {
            "kind": "5xx_after",
            "route": "PATCH /v1/blocks/{id}/children",
            "times": 1,
            "params": {"status": 503},
        }
        fetch_json("POST", f"{self._url}/_sandbox/faults", rule)

    def fired(self) -> int:
        """Return how many calls the fault has hit."""
        rules = fetch_json("GET", f"{self._url}/_sandbox/faults")["rules"]
        return sum(int(rule["fired"]) for rule in rules)


def text_of(block: Block) -> str:
    """Return the plain text of a block's rich text."""
    body = block.get(block["type"]) or {}
    return "".join(run.get("plain_text", "") for run in body.get("rich_text") or [])


def level_of(block: Block) -> int:
    """Return 1–4 for a heading, else 0."""
    kind = str(block["type"])
    return int(kind[-1]) if kind.startswith("heading_") else 0


def section_of(blocks: list[Block], heading: str) -> list[Block]:
    """Return the blocks between ``heading`` and the next heading of its level or above."""
    at = next((i for i, b in enumerate(blocks) if level_of(b) and text_of(b) == heading), None)
    if at is None:
        raise DemoFailed(f"The page has no heading {heading!r}.")
    level = level_of(blocks[at])
    end = next(
        (i for i in range(at + 1, len(blocks)) if 0 < level_of(blocks[i]) <= level), len(blocks)
    )
    return blocks[at + 1 : end]
