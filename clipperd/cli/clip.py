"""``clip``: sends a file, text or address to a page."""

from __future__ import annotations

import contextlib
import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from clipperd.cli import exits, layout
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.lookup import find_heading, find_page, fragment_id
from clipperd.cli.verbs import Verbs
from clipperd.content.formats import BY_SUFFIX, FORMATS, SUPPORTED

if TYPE_CHECKING:
    from clipperd.client import Client

_POLL_S = 0.1  # seconds between looks at a clip
_MAX_BYTES = 10_000_000  # the API's limit on a JSON body
_LOOKS_A_REASON = 10  # looks at a clip between two at the status: one a second
_DONE = ("delivered", "failed", "canceled", "needs_attention", "undone")


VERBS = ("clip",)


def declare(verbs: Verbs) -> None:
    """Declare ``clip``."""
    parser = verbs.add(
        "clip",
        clip,
        "send a file, text or address to a page",
        [
            "clipperd clip --page 'Reading list' notes.md",
            "clipperd clip --page PAGE --end-of 'To read' --wait notes.md",
            "echo 'Call back' | clipperd clip --page https://www.notion.so/Inbox-…",
            "clipperd clip --page Inbox https://example.org/article",
            "clipperd clip --page Inbox chapter-1.md chapter-2.md",
        ],
        prints_data=True,
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="FILE|ADDRESS|-",
        help="files and web addresses, clipped together; - reads standard input",
    )
    add_place(parser)
    parser.add_argument(
        "--format", choices=SUPPORTED, help="by default guessed from the name and content"
    )
    parser.add_argument(
        "--clipboard", action="store_true", help="not supported yet: pipe your clipboard instead"
    )
    parser.add_argument(
        "--priority",
        choices=("high", "normal", "low"),
        help="high goes first (normal; with --wait high)",
    )
    parser.add_argument("--wait", action="store_true", help="wait until the clip is in Notion")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="seconds to wait at most (120)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the blocks and losses; send nothing"
    )
    parser.add_argument(
        "--no-start", action="store_true", help="do not start the daemon if none runs"
    )
    parser.add_argument(
        "--idempotency-key", metavar="KEY", help="send a clip with this key only once"
    )


def add_place(parser: ArgumentParser) -> None:
    """Add the options that name a page and a place on it."""
    parser.add_argument(
        "--page",
        required=True,
        metavar="PAGE",
        help="a page id, title or Notion address; an address with #block: after that block",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--after", metavar="HEADING", help="insert after this heading")
    place.add_argument(
        "--end-of", metavar="HEADING", help="insert at the end of this heading's section"
    )
    place.add_argument("--start", action="store_true", help="insert at the top of the page")
    parser.add_argument(
        "--fuzzy", action="store_true", help="take the best match for a PAGE or HEADING"
    )


def clip(args: Namespace, console: Console) -> int:
    """Send the content to the daemon, which stores and delivers it."""
    if args.clipboard:
        raise UsageError(
            "This version cannot read the clipboard.",
            "Pipe it, for example: wl-paste | clipperd clip --page PAGE",
        )
    contents = [read_content(each, args.format, console) for each in args.sources or [None]]
    content = contents[0] if len(contents) == 1 else contents
    client = _client(args, console)
    if args.dry_run:
        return _preview(console, client.convert(content))
    body: dict[str, Any] = {"targets": [target(args, client, console)], "content": content}
    if args.priority is not None or args.wait:
        body["priority"] = args.priority or "high"
    accepted = client.clip(body, args.idempotency_key)
    if args.wait:
        try:
            accepted = _wait(client, console, accepted, args.timeout)
        except KeyboardInterrupt:
            console.warn("The clip is stored; clipperd delivers it in the background.")
            console.warn(f"  Follow it with: clipperd queue show {accepted['id']}")
            if args.json:
                console.emit(accepted)
            return exits.INTERRUPTED
    if args.json:
        console.emit(accepted)
    else:
        _print_outcome(console, client, accepted)
    if not args.wait:
        return exits.OK
    return exits.OK if accepted["state"] == "delivered" else exits.FAILED


def target(args: Namespace, client: Client, console: Console) -> dict[str, Any]:
    """Return the target that the options of :func:`add_place` name. Raises UsageError."""
    page_id = find_page(client, console, args.page, fuzzy=args.fuzzy)
    return {"page_id": page_id, "position": _position(args, client, console, page_id)}


def _client(args: Namespace, console: Console) -> Client:
    """Return a client of the running daemon; start one if none runs. Raises DaemonDown."""
    from clipperd.process.errors import AlreadyRunning, DaemonDown

    client = console.client(args)
    try:
        client.hello()
    except DaemonDown:
        if args.no_start:
            raise
        from clipperd.cli import lifecycle

        with contextlib.suppress(AlreadyRunning):  # another command has just started it
            url, _ = lifecycle.launch(args, console)
            console.warn(f"clipperd was not running. It runs now: {url}")
        client = console.client(args)
    return client


def _preview(console: Console, found: dict[str, Any]) -> int:
    """Print blocks and losses as JSON."""
    console.emit(found)
    return exits.OK


def read_content(source: str | None, form: str | None, console: Console) -> dict[str, Any]:
    """Return the content of a file, an address or standard input (None or ``-``).

    ``form``: the format; None guesses it. Raises UsageError.
    """
    from pathlib import Path

    if source is not None and source.startswith(("http://", "https://")):
        return {"format": "url", "url": source}
    suffix = Path(source).suffix.lower() if source not in (None, "-") else ""
    by_suffix = BY_SUFFIX.get(suffix)
    if by_suffix is not None and by_suffix not in SUPPORTED and form is None:
        raise UsageError(
            f"{FORMATS[by_suffix].label} cannot be clipped by this version.",
            f"Convert the file to one of {', '.join(SUPPORTED)}, or name its --format.",
        )
    text = _decoded(_raw(source, console))
    if not text.strip():
        raise UsageError("There is nothing to clip: the input is empty. Send some text.")
    form = form or _guess(suffix, text)
    if form == "blocks":
        return {"format": "blocks", "blocks": _blocks(text)}
    return {"format": form, form: text.strip() if form == "url" else text}


def _raw(file: str | None, console: Console) -> bytes:
    if file is None and console.stdin_is_terminal:
        raise UsageError("There is nothing to clip. Name a FILE, or - for standard input.")
    from pathlib import Path

    try:
        if file in (None, "-"):
            raw = console.stdin.read(_MAX_BYTES + 1)
        else:
            assert file is not None
            with Path(file).open("rb") as opened:
                raw = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    if len(raw) > _MAX_BYTES:
        raise UsageError("The input is larger than 10 MB, the limit of a clip. Split it.")
    return raw


def _decoded(raw: bytes) -> str:
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            "The input is not text in UTF-8.", "This version clips only text. Convert it first."
        ) from error
    if "\0" in text:
        raise UsageError("The input is not text: it contains NUL characters.")
    return text


def _guess(suffix: str, text: str) -> str:
    words = text.split()
    if not suffix and len(words) == 1 and words[0].startswith(("http://", "https://")):
        return "url"
    return BY_SUFFIX.get(suffix, "markdown" if not suffix else "text")


def _blocks(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("The input is not JSON, so it cannot be Notion blocks.") from error
    if isinstance(value, dict):
        value = value.get("children", value.get("results", [value]))
    if not isinstance(value, list):
        raise UsageError("Notion blocks must be a JSON list of block objects.")
    return value


def _position(args: Namespace, client: Client, console: Console, page_id: str) -> dict[str, Any]:
    if args.start:
        return {"type": "start"}
    named = args.after if args.after is not None else args.end_of
    if named is None:
        on_page = fragment_id(args.page)
        return {"type": "end"} if on_page is None else {"type": "after_block", "block_id": on_page}
    kind = "after_heading" if args.after is not None else "end_of_section"
    return {"type": kind, **find_heading(client, console, page_id, named, fuzzy=args.fuzzy)}


def _wait(
    client: Client, console: Console, accepted: dict[str, Any], timeout_s: float
) -> dict[str, Any]:
    """Wait until the clip is in Notion, and print each new reason of the wait."""
    from clipperd.client import pause, until

    current, reason = accepted, ""
    for number, _ in enumerate(until(timeout_s)):
        if current["state"] in _DONE:
            break
        found = _progress(client, current) if number % _LOOKS_A_REASON == 0 else reason
        if found != reason:
            reason = found
            console.warn(reason)
        pause(_POLL_S)
        current = client.one_clip(accepted["id"])
    return current


def _progress(client: Client, clip: dict[str, Any]) -> str:
    """Return a sentence on the state of a clip that is not delivered yet."""
    blocked = _blocked(client)
    if blocked:
        return f"Waiting: {blocked}"
    delivery = (clip.get("deliveries") or [{}])[0]
    total, done = int(delivery.get("chunks_total") or 1), int(delivery.get("chunks_done") or 0)
    if total > 1 and done:
        return f"Sent {done} of {total} parts."
    return {
        "queued": "Waiting for its turn.",
        "sending": "Sending.",
        "retrying": "Notion did not take it yet; clipperd tries again.",
        "unconfirmed": "The answer was lost; clipperd checks the page.",
    }.get(clip["state"], "")


def _blocked(client: Client) -> str | None:
    """Return why nothing leaves now, with the remedy; None while deliveries run."""
    status = client.status()
    queue = status.get("queue") or {}
    if queue.get("paused") or queue.get("paused_until"):
        return "deliveries are paused. Resume them with: clipperd queue resume"
    state = (status.get("connectivity") or {}).get("state")
    return {
        "offline": "the broker cannot be reached. clipperd sends the clip when it is back.",
        "reauth_required": "you must sign in again with: clipperd login",
        "signed_out": "nobody is signed in. Sign in with: clipperd login",
    }.get(str(state))


def _print_outcome(console: Console, client: Client, clip: dict[str, Any]) -> None:
    state, clip_id = clip["state"], clip["id"]
    delivery = (clip.get("deliveries") or [{}])[0]
    page = layout.plain(delivery.get("page_title") or "the page", 60)
    if state == "delivered":
        calls = layout.count(int(delivery.get("notion_calls") or 0), "call")
        console.say(f"Delivered to {page} ({calls} to Notion).")
        if delivery.get("block_url"):
            console.say(f"  {delivery['block_url']}")
        return
    if state == "needs_attention":
        reason = str(delivery.get("reason") or "a decision").replace("_", " ")
        console.say(f"Stored, but it needs your decision: {layout.plain(reason)}.")
    elif state in ("failed", "canceled"):
        why = (delivery.get("error") or {}).get("message") or state
        console.say(f"Not delivered: {layout.plain(why)}")
    else:
        blocked = _blocked(client)
        console.say(
            f"Stored. It waits: {blocked}"
            if blocked
            else f"Stored. clipperd delivers it to {page} in the background."
        )
    console.say(f"  See the clip with: clipperd queue show {clip_id}")
