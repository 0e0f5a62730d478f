"""Converts Notion objects to stored records, and defines the entries that clients see (pure)."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Literal, TypedDict

import msgspec
from msgspec import UNSET, UnsetType

from clipperd.model import NotionObject

WORDS = re.compile(r"\w+")
"""Words of a case-folded text."""

SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Runs of scripts without spaces between words: Thai, Lao, Burmese, Khmer, CJK."""

SIGNS = re.compile(r"[^\w\s]+")
"""Runs of characters that are neither words nor spaces: punctuation, emoji."""

Kind = Literal["page", "database", "data_source"]
Access = Literal["ok", "trashed", "gone", "unknown"]
Phase = Literal["never", "recents", "filling", "complete"]


class Crumb(msgspec.Struct, frozen=True):
    """One ancestor of a page."""

    id: str
    title: str


class Entry(msgspec.Struct, frozen=True):
    """One page, database or data source in a list. ``path`` runs from the outermost ancestor."""

    id: str
    title: str
    url: str | None
    icon: NotionObject | None
    parent: NotionObject | None
    path: tuple[Crumb, ...]
    kind: Kind
    last_edited_time: str
    favorite: bool
    in_trash: bool
    workspace_id: str
    score: float | UnsetType = UNSET
    access: Access | UnsetType = UNSET


class DataSource(TypedDict):
    """The schema of a database as Notion gave it, and when."""

    id: str
    title: str
    url: str | None
    icon: NotionObject | None
    parent: NotionObject | None
    database_parent: NotionObject | None
    properties: dict[str, NotionObject]
    last_edited_time: str | None
    workspace_id: str
    fetched_at: str


class IndexStatus(msgspec.Struct, frozen=True):
    """How much of the workspace is indexed; with an ``error`` the stored pages stay."""

    state: Literal["never", "recents", "filling", "complete", "error"]
    complete: bool
    count: int
    refreshed_at: str | None
    empty_reason: Literal["nothing_shared"] | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Listing(msgspec.Struct, frozen=True):
    """One page of a list. ``remote``: whether Notion's search answered."""

    items: list[Entry]
    next_cursor: str | None
    has_more: bool
    index: IndexStatus
    remote: Literal["merged", "unreachable"] | UnsetType = UNSET


class Record(msgspec.Struct, frozen=True):
    """The part of a Notion object that the index stores, without properties and content."""

    id: str
    kind: Kind
    title: str
    url: str | None
    icon: dict[str, Any] | None
    parent: dict[str, Any] | None
    parent_id: str | None
    last_edited_time: str
    in_trash: bool


def from_notion(thing: Any) -> Record | None:
    """Convert a page, database or data source; None for other or partial objects."""
    if not isinstance(thing, dict) or not isinstance(thing.get("id"), str):
        return None
    kind: Kind
    match thing.get("object"):
        case "page":
            kind, title = "page", _page_title(thing.get("properties"))
        case "data_source":
            kind, title = "data_source", plain_text(thing.get("title"))
        case "database":
            kind, title = "database", plain_text(thing.get("title"))
        case _:
            return None
    stamp = thing.get("last_edited_time")
    if not isinstance(stamp, str):
        return None  # without the read capability Notion sends only the id
    parent = thing.get("parent") if isinstance(thing.get("parent"), dict) else None
    icon = thing.get("icon") if isinstance(thing.get("icon"), dict) else None
    url = thing.get("url") if isinstance(thing.get("url"), str) else None
    above = thing.get("database_parent") if kind == "data_source" else None
    return Record(
        id=thing["id"],
        kind=kind,
        title=title,
        url=url,
        icon=icon,
        parent=parent,
        parent_id=_parent_id(above if isinstance(above, dict) else parent),
        last_edited_time=stamp,
        in_trash=bool(thing.get("in_trash") or thing.get("archived")),
    )


def schema_of(thing: Any) -> dict[str, Any] | None:
    """Return a data source's properties and place for clients; None for other objects."""
    if not isinstance(thing, dict) or thing.get("object") != "data_source":
        return None
    if not isinstance(thing.get("id"), str) or not isinstance(thing.get("properties"), dict):
        return None
    kept = ("id", "url", "icon", "parent", "database_parent", "properties", "last_edited_time")
    schema = {key: thing.get(key) for key in kept}
    return {**schema, "title": plain_text(thing.get("title"))}


def plain_text(runs: Any) -> str:
    """Return the text of a rich text array: all runs of every kind."""
    if not isinstance(runs, list):
        return ""
    parts = []
    for run in runs:
        if not isinstance(run, dict):
            continue
        text = run.get("plain_text")
        if text is None and isinstance(run.get("text"), dict):
            text = run["text"].get("content")
        if text is None and isinstance(run.get("equation"), dict):
            text = run["equation"].get("expression")
        parts.append(text if isinstance(text, str) else "")
    return "".join(parts)


def fold(text: str) -> str:
    """Fold ``text`` for comparison and indexing: no case, diacritics or repeated white space."""
    bare = "".join(
        c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c)
    )
    return " ".join(unicodedata.normalize("NFKC", bare).split())


def runs_of(text: str) -> str:
    """Return index words for text without words: scripts without spaces, and signs.

    A run of such a script becomes its pairs of neighbours and its last character; a sign becomes
    its number. A word between two runs separates them.
    """
    runs = [[run[at : at + 2] for at in range(len(run))] for run in SPACELESS.findall(text)]
    runs += [signs_of(run) for run in SIGNS.findall(text)]
    return " z ".join(" ".join(run) for run in runs)


def signs_of(run: str) -> list[str]:
    """Return signs as words, because the full-text index takes signs for separators."""
    return [f"u{ord(sign):x}" for sign in run]


def _page_title(properties: Any) -> str:
    if isinstance(properties, dict):
        for value in properties.values():
            if isinstance(value, dict) and value.get("type", "title") == "title":
                return plain_text(value.get("title"))
    return ""


def _parent_id(parent: dict[str, Any] | None) -> str | None:
    if parent is None:
        return None
    for key in ("data_source_id", "page_id", "database_id", "block_id"):
        if isinstance(parent.get(key), str):
            return str(parent[key])
    return None
