"""The verbs of ``queue`` that change one clip: another place, other content; open, delete."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import TYPE_CHECKING

from clipperd.cli import exits
from clipperd.cli.clip import add_place, read_content, target
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.verbs import Verbs
from clipperd.content.formats import SUPPORTED

if TYPE_CHECKING:
    from clipperd.client import Client

_ID_LETTERS = 32  # of a clip's id


def declare_changes(queue: Verbs) -> None:
    """Declare ``retarget``, ``edit``, ``open`` and ``delete``."""
    parser = queue.add(
        "retarget",
        retarget,
        "send an unsent clip to another page or place",
        ["clipperd queue retarget CLIP --page Inbox", "clipperd queue retarget @last --page X"],
        prints_data=True,
    )
    parser.add_argument("clip", metavar="CLIP")
    parser.add_argument("--delivery", metavar="ID", help="the delivery, if the clip has several")
    add_place(parser)
    parser = queue.add(
        "edit",
        edit,
        "replace the content of an unsent clip",
        ["clipperd queue edit CLIP notes.md", "echo text | clipperd queue edit CLIP -"],
        prints_data=True,
    )
    parser.add_argument("clip", metavar="CLIP")
    parser.add_argument("file", metavar="FILE|-", help="the new content")
    parser.add_argument("--format", choices=SUPPORTED, help="by default guessed")
    parser = queue.add(
        "open",
        open_clip,
        "open a clip's place in Notion in your browser",
        ["clipperd queue open @last"],
    )
    parser.add_argument("clip", metavar="CLIP")
    parser = queue.add(
        "delete",
        delete,
        "delete a finished clip from the history; its blocks stay in Notion",
        ["clipperd queue delete CLIP"],
    )
    parser.add_argument("clip", metavar="CLIP")


def retarget(args: Namespace, console: Console) -> int:
    """Change the target of an unsent delivery."""
    client = console.client(args)
    clip = client.one_clip(clip_id(client, args.clip))
    deliveries = [each["id"] for each in clip.get("deliveries", [])]
    if args.delivery is None and len(deliveries) > 1:
        raise UsageError(
            f"This clip has several deliveries: {', '.join(deliveries)}.", "Name one: --delivery ID"
        )
    body = {"delivery_id": args.delivery or deliveries[0], "target": target(args, client, console)}
    answer = client.act(clip["id"], "retarget", **body)
    if args.json:
        console.emit(answer)
    else:
        console.say(f"The clip goes to the new place; it is {answer.get('state', 'queued')} now.")
    return exits.OK


def edit(args: Namespace, console: Console) -> int:
    """Replace the content of an unsent clip."""
    content = read_content(args.file, args.format, console)
    client = console.client(args)
    clip = client.one_clip(clip_id(client, args.clip))
    answer = client.edit(clip["id"], clip["version"], content=content)
    if args.json:
        console.emit(answer)
    else:
        console.say(f"The clip has its new content; it is {answer.get('state', 'queued')} now.")
    return exits.OK


def open_clip(args: Namespace, console: Console) -> int:
    """Open the block of a delivered clip, or the page that it goes to."""
    client = console.client(args)
    clip = client.one_clip(clip_id(client, args.clip))
    for delivery in clip.get("deliveries", []):
        page = str(delivery.get("page_id") or "").replace("-", "")
        address = delivery.get("block_url") or (f"https://www.notion.so/{page}" if page else None)
        if address:
            console.say(address)
            console.browse(address)
            return exits.OK
    raise UsageError("The page of this clip does not exist yet.")


def delete(args: Namespace, console: Console) -> int:
    """Delete a finished clip from the history."""
    client = console.client(args)
    found = clip_id(client, args.clip)
    client.delete(found)
    console.say(f"Deleted from the history: {found}")
    return exits.OK


def clip_id(client: Client, given: str) -> str:
    """Return the id of a clip: ``@last``, an id, or the beginning of one. Raises UsageError."""
    from clipperd.client import items

    if given == "@last":
        newest = items(client.clips(limit=1))
        if not newest:
            raise UsageError("There is no clip yet.")
        return str(newest[0]["id"])
    if len(given) >= _ID_LETTERS or not re.fullmatch(r"[0-9a-f]{4,}", given):
        return given
    found = [str(clip["id"]) for clip in client.every_clip() if clip["id"].startswith(given)]
    if len(found) > 1:
        raise UsageError(f"Several clips begin with {given}: {', '.join(found[:5])}.")
    return found[0] if found else given
