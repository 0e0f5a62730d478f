"""The sandbox for a test: scenes, edits by people, faults, and the calls it received."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clipperd.cli.demo.sandbox import level_of, section_of, text_of
from clipperd.cli.demo.web import fetch_json

Block = dict[str, Any]
APPEND = "PATCH /v1/blocks/{id}/children"
LIST = "GET /v1/blocks/{id}/children"
PAGE = "GET /v1/pages/{id}"
SEARCH = "POST /v1/search"

__all__ = ["APPEND", "LIST", "PAGE", "SEARCH", "Block", "Notion", "Page", "level_of", "text_of"]


@dataclass(frozen=True)
class Page:
    """A page that a person made, with its first-level blocks as they were then."""

    id: str
    title: str
    blocks: list[Block]

    def heading(self, text: str) -> str:
        """Return the id of the heading with this text."""
        return next(str(b["id"]) for b in self.blocks if level_of(b) and text_of(b) == text)


class Notion:
    """Talks to ``/_sandbox`` and never to ``/v1``, so it is not counted."""

    def __init__(self, url: str) -> None:
        """``url`` without a slash at its end."""
        self.url = url

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One control request."""
        return fetch_json(method, f"{self.url}/_sandbox/{path}", body)

    def page(self, title: str, outline: str = "", **more: Any) -> Page:
        """Let a person make a page; one line of ``outline`` is one block (``# `` a heading)."""
        made = self.ask("POST", "pages", {"title": title, "outline": outline, **more})
        return Page(made["id"], title, made["blocks"])

    def page_titles(self) -> dict[str, str]:
        """Ids by title."""
        return {page["title"]: page["id"] for page in self.ask("GET", "pages")["pages"]}

    def blocks(self, page_id: str) -> list[Block]:
        """The page's first-level blocks, each with ``children``."""
        return list(self.ask("GET", f"pages/{page_id}/blocks")["blocks"])

    def texts(self, page_id: str) -> list[str]:
        """The text of the first-level blocks."""
        return [text_of(block) for block in self.blocks(page_id)]

    def section(self, page_id: str, heading: str) -> list[str]:
        """The texts between a heading and the end of its section."""
        return [text_of(block) for block in section_of(self.blocks(page_id), heading)]

    def edit(self, op: str, **more: Any) -> dict[str, Any]:
        """An edit by a person."""
        return self.ask("POST", "edit", {"op": op, **more})

    def misbehave(self, *rules: dict[str, Any], seed: int | None = None) -> None:
        """Put fault rules in force, in place of all others."""
        self.ask("POST", "faults", {"rules": list(rules), "seed": seed, "replace": True})

    def fired(self) -> dict[str, int]:
        """How often each kind of fault struck, for the rules in force."""
        found: dict[str, int] = {}
        for rule in self.ask("GET", "faults")["rules"]:
            found[rule["kind"]] = found.get(rule["kind"], 0) + rule["fired"]
        return found

    def behave(self) -> None:
        """No faults any more; what is late has been applied."""
        self.ask("DELETE", "faults")
        self.ask("POST", "settle")

    def forget_calls(self) -> None:
        """Count from zero."""
        self.ask("DELETE", "calls")

    def calls(self) -> dict[str, int]:
        """How often each route was called."""
        return dict(self.ask("GET", "calls")["by_route"])

    def each_call(self) -> list[dict[str, Any]]:
        """Every call since, with its status and fault."""
        return list(self.ask("GET", "calls")["calls"])


def flat(blocks: list[Block]) -> Iterator[Block]:
    """Every block with those inside it, in reading order."""
    for block in blocks:
        yield block
        yield from flat(block.get("children") or [])
