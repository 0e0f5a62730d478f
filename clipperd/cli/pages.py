"""``pages`` and ``outline``: lists pages and headings."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from clipperd.cli import exits, layout
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.lookup import find_page, listing
from clipperd.cli.verbs import Verbs

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
    parser.add_argument(
        "--fuzzy", action="store_true", help="take the best match if no page has this title"
    )


def pages(args: Namespace, console: Console) -> int:
    """List pages from the local index."""
    if args.remote and not args.query:
        raise UsageError("--remote needs a TEXT to search for.", "clipperd pages TEXT --remote")
    found = console.reader(args).pages(
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
        console.say(listing(listed))
    _print_index_state(console, found, empty=not listed, searched=bool(args.query))
    return exits.OK


def outline(args: Namespace, console: Console) -> int:
    """Print a page's headings, indented by level."""
    client = console.reader(args)
    page_id = find_page(client, console, args.page, fuzzy=args.fuzzy)
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
