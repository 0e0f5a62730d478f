"""``pages`` and ``outline``: lists pages and headings; finds the page of a command line."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from clipperd.cli import exits, layout
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.verbs import Verbs

if TYPE_CHECKING:
    from clipperd.client import Client

_SHOWN = 10
_ID_AT_END = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$")


VERBS = ("pages", "outline")


def declare(verbs: Verbs) -> None:
    """Declare ``pages`` and ``outline``."""
    parser = verbs.add(
        "pages",
        pages,
        "list or search the pages that you can clip to",
        ["clipperd pages", "clipperd pages reading --limit 5", "clipperd pages --view favorites"],
        prints_data=True,
    )
    parser.add_argument("query", nargs="?", metavar="TEXT", help="search titles and paths")
    parser.add_argument(
        "--view", choices=("recent", "used", "favorites", "all"), help="the list to show (recent)"
    )
    parser.add_argument(
        "--kind", choices=("page", "database", "data_source"), help="only this kind"
    )
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="list at most N pages, 1 to 100 (20)"
    )
    parser.add_argument(
        "--remote", action="store_true", help="also search Notion, not only the local index"
    )
    parser = verbs.add(
        "outline",
        outline,
        "show the headings of a page",
        ["clipperd outline 'Reading list'", "clipperd outline PAGE_ID --freshness verified"],
        prints_data=True,
    )
    parser.add_argument("page", metavar="PAGE", help="an id, a Notion address or a title")
    parser.add_argument(
        "--freshness",
        choices=("cached", "auto", "verified"),
        default="auto",
        help="cached: do not ask Notion; verified: always ask (auto)",
    )


def pages(args: Namespace, console: Console) -> int:
    """List pages from the local index."""
    if args.remote and not args.query:
        raise UsageError("--remote needs a TEXT to search for.", "clipperd pages TEXT --remote")
    found = console.client(args).pages(
        q=args.query,
        view=None if args.query else args.view,
        kind=args.kind,
        limit=args.limit,
        remote=1 if args.remote else None,
    )
    from clipperd.client import items

    if args.json:
        console.emit(found)
        return exits.OK
    listed = items(found)
    if listed:
        console.say(_listing(listed))
    _print_index_state(console, found, empty=not listed, searched=bool(args.query))
    return exits.OK


def outline(args: Namespace, console: Console) -> int:
    """Print a page's headings, indented by level."""
    client = console.client(args)
    page_id = find(client, args.page)
    found = client.outline(page_id, args.freshness)
    if args.json:
        console.emit(found)
        return exits.OK
    console.say(layout.plain(found.get("title") or "Untitled"))
    headings = found.get("headings", [])
    shown = [("  " * int(h["level"]) + layout.plain(h["text"], 56), h["id"]) for h in headings]
    if shown:
        console.say(layout.facts(shown))
    else:
        console.say("  This page has no headings. Your clips go to its end.")
    if found.get("stale"):
        console.say(
            f"Read from Notion {console.ago(found.get('verified_at'))}; it may have changed since."
        )
    return exits.OK


def find(client: Client, given: str) -> str:
    """Return the id of the page ``given``. Raises UsageError when none or several match."""
    page_id = named_id(given)
    if page_id is not None:
        return page_id
    from clipperd.client import items

    answer = client.pages(q=given, limit=_SHOWN)
    found = items(answer)
    same = [p for p in found if (p.get("title") or "").casefold() == given.casefold()]
    chosen = same or found
    if len(chosen) == 1:
        return str(chosen[0]["id"])
    if not chosen:
        raise UsageError(
            f"No page matches {layout.plain(given, 60)!r}.",
            f"Search Notion with: clipperd pages {layout.plain(given, 40)!r} --remote",
        )
    raise UsageError(
        f"Several pages match {layout.plain(given, 60)!r}:\n{_listing(chosen)}",
        "Use the id of the page.",
    )


def named_id(given: str) -> str | None:
    """Return the id in an id or a Notion address, or None for anything else."""
    from urllib.parse import parse_qs, urlsplit

    from clipperd.model import notion_id

    if not given.lower().startswith(("http://", "https://")):
        return notion_id(given)
    url = urlsplit(given)
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

    return notion_id(urlsplit(given).fragment)


def _listing(found: list[dict[str, Any]]) -> str:
    rows = []
    for page in found:
        path = " / ".join(step.get("title") or "Untitled" for step in page.get("path") or [])
        kind = "" if page.get("kind", "page") == "page" else str(page["kind"]).replace("_", " ")
        rows.append([page.get("title") or "Untitled", kind, path, page["id"]])
    return layout.table(["PAGE", "KIND", "IN", "ID"], rows, widest=44)


def _print_index_state(
    console: Console, found: dict[str, Any], *, empty: bool, searched: bool
) -> None:
    index = found.get("index") or {}
    state = index.get("state")
    if empty and searched:
        console.say("No page matches. Search Notion with --remote.")
    elif empty and index.get("empty_reason"):
        console.say(f"No pages: {layout.plain(index['empty_reason']).replace('_', ' ')}.")
        console.say("Choose the shared pages with: clipperd login --change-access")
    elif empty:
        console.say("clipperd knows no pages yet. Try again in a moment, or run: clipperd status")
    if state in ("recents", "filling"):
        console.say(f"clipperd is still reading your pages ({index.get('count', 0)} so far).")
    elif state == "error":
        console.say("The last refresh failed. This list may be outdated.")
