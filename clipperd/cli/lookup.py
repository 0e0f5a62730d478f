"""Finds the page and the heading that a command names. It never takes a weak match silently.

A name is taken if it is equal (case and diacritics folded), or the only title that begins with it
or has all of its words. For anything weaker a terminal asks, and elsewhere the command ends with
the candidates; ``--fuzzy`` takes the best one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from clipperd.cli import layout
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError

if TYPE_CHECKING:
    from clipperd.client import Client

_SEARCHED = 100  # the most that the API returns; more matches are ambiguous
_SHOWN = 10
_ID_AT_END = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$")
_ADDRESS = re.compile(r"(?:https?|notion)://|(?:www\.)?(?:notion\.so|app\.notion\.com)/", re.I)

Row = dict[str, Any]


def find_page(client: Client, console: Console, given: str, *, fuzzy: bool = False) -> str:
    """Return the id of the page ``given``: an id, an address or a title. Raises UsageError."""
    page_id = named_id(given)
    if page_id is not None:
        return page_id
    from clipperd.client import items

    answer = client.pages(q=given, limit=_SEARCHED)
    found, is_whole = items(answer), bool((answer.get("index") or {}).get("complete"))
    if not is_whole and not _equal(given, found, _title):
        found, is_whole = _searched_at_notion(client, given, found)
    chosen = _only(given, found, _title, is_whole=is_whole and not answer.get("has_more"))
    if chosen is None and fuzzy and found:
        chosen = found[0]
    if chosen is None:
        chosen = _ask(console, "page", given, found, listing(found[:_SHOWN]), _title)
    return str(chosen["id"])


def find_heading(
    client: Client, console: Console, page_id: str, given: str, *, fuzzy: bool = False
) -> dict[str, Any]:
    """Return ``heading_id`` or ``heading`` of a position. Raises UsageError.

    ``given`` is a text, an id, the address of a block, or a path such as ``Later / Notes``. The
    stored outline decides; without one the daemon finds the heading when it delivers the clip.
    """
    from clipperd.model import notion_id

    heading_id = fragment_id(given) or notion_id(given)
    if heading_id is not None:
        return {"heading_id": heading_id}
    named = {"heading": {"text": given.strip()}}
    headings = _headings(client, page_id, "cached")
    if headings is None:
        return named
    if not _equal(given, headings, _path) and not _equal(given, headings, _text):
        headings = _headings(client, page_id, "auto")
        if headings is None:  # Notion cannot be asked now
            return named
    for shown in (_text, _path):
        same = _equal(given, headings, shown)
        if len(same) == 1:
            return _named(same[0])
        if len(same) > 1 and shown is _text:
            return named  # the delivery asks which one is meant
    chosen = _only(given, headings, _text, is_whole=True)
    if chosen is None and fuzzy and headings:
        chosen = max(headings, key=lambda heading: _likeness(given, _text(heading)))
    if chosen is None:
        near = sorted(headings, key=lambda heading: -_likeness(given, _text(heading)))[:_SHOWN]
        rows = "\n".join(f"  {layout.plain(_path(heading), 70)}" for heading in near)
        chosen = _ask(console, "heading", given, near, rows, _path)
    return _named(chosen)


def named_id(given: str) -> str | None:
    """Return the id in an id or a Notion address, or None for a title."""
    from urllib.parse import parse_qs, urlsplit

    from clipperd.model import notion_id

    given = given.strip()
    if not _ADDRESS.match(given):
        return notion_id(given)
    url = urlsplit(given if "://" in given else f"https://{given}")
    over_database = parse_qs(url.query).get("p", [""])[0]  # a page opened over a database
    match = _ID_AT_END.search(over_database) or _ID_AT_END.search(url.path.rstrip("/"))
    if match is None:
        raise UsageError(
            "The address does not contain the id of a Notion page. Copy the link of the page."
        )
    return notion_id(match.group(1))


def fragment_id(given: str) -> str | None:
    """Return the block id of an address's ``#…``, as Notion's "copy link to block" makes it."""
    from urllib.parse import urlsplit

    from clipperd.model import notion_id

    return notion_id(urlsplit(given.strip()).fragment)


def listing(found: Sequence[Row]) -> str:
    """Return pages as a table with their kind, path and id."""
    rows = []
    for page in found:
        path = " / ".join(step.get("title") or "Untitled" for step in page.get("path") or [])
        kind = "" if page.get("kind", "page") == "page" else str(page["kind"]).replace("_", " ")
        rows.append([_title(page), kind, path, page["id"]])
    return layout.table(["PAGE", "KIND", "IN", "ID"], rows, widest=44)


def _searched_at_notion(client: Client, given: str, found: list[Row]) -> tuple[list[Row], bool]:
    """Return the matches of Notion's own search, or the local ones if Notion cannot be asked."""
    from clipperd.client import items
    from clipperd.process.errors import ApiError

    try:
        answer = client.pages(q=given, limit=_SEARCHED, remote=1)
    except ApiError:
        return found, False
    return items(answer), answer.get("remote") == "merged"


def _headings(client: Client, page_id: str, freshness: str) -> list[Row] | None:
    from clipperd.process.errors import ApiError

    try:
        return list(client.outline(page_id, freshness).get("headings") or [])
    except ApiError:
        return None


def _only(
    given: str, found: Sequence[Row], shown: Callable[[Row], str], *, is_whole: bool
) -> Row | None:
    """Return the one row that ``given`` names, or None. ``is_whole``: no row is missing."""
    strong = _equal(given, found, shown)
    if not strong and is_whole:
        wanted = _fold(given)
        words = set(wanted.split())
        strong = [
            row
            for row in found
            if _fold(shown(row)).startswith(wanted) or words <= set(_fold(shown(row)).split())
        ]
    return strong[0] if len(strong) == 1 else None


def _equal(given: str, found: Sequence[Row], shown: Callable[[Row], str]) -> list[Row]:
    return [row for row in found if _fold(shown(row)) == _fold(given)]


def _ask(
    console: Console,
    noun: str,
    given: str,
    found: Sequence[Row],
    rows: str,
    show: Callable[[Row], str],
) -> Row:
    """Let the user choose on a terminal. Raises UsageError with the candidates elsewhere."""
    name = repr(layout.plain(given, 60))
    if not found:
        hint = f"Search Notion with: clipperd pages {layout.plain(given, 40)!r} --remote"
        raise UsageError(f"No {noun} matches {name}.", hint if noun == "page" else None)
    found = found[:_SHOWN]
    if not console.stdin_is_terminal:
        raise UsageError(
            f"No {noun} is called {name}. The nearest:\n{rows}",
            f"Use the id or the exact name of the {noun}, or --fuzzy to take the best match.",
        )
    numbered = "\n".join(f"{n}. {layout.plain(show(row), 70)}" for n, row in enumerate(found, 1))
    console.warn(f"No {noun} is called {name}. The nearest:\n{numbered}")
    console.warn(f"Which one? Type a number from 1 to {len(found)}, or press Enter to stop.")
    answer = console.stdin.readline().decode("utf-8", "replace").strip()
    if answer.isdecimal() and 1 <= int(answer) <= len(found):
        return found[int(answer) - 1]
    raise UsageError(f"Nothing was sent: no {noun} was chosen.")


def _named(heading: Row) -> dict[str, Any]:
    path = list(heading.get("path") or [])
    return {"heading": {"text": _text(heading), **({"path": path} if path else {})}}


def _title(page: Row) -> str:
    return page.get("title") or "Untitled"


def _text(heading: Row) -> str:
    return str(heading.get("text") or "")


def _path(heading: Row) -> str:
    return " / ".join([*(heading.get("path") or []), _text(heading)])


def _likeness(given: str, text: str) -> float:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, _fold(given), _fold(text)).ratio()


def _fold(text: str) -> str:
    """Fold case, diacritics and white space, as the page index does."""
    import unicodedata

    bare = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in bare if not unicodedata.combining(letter))
    return " ".join(unicodedata.normalize("NFKC", bare).split())
