"""``queue``: lists waiting clips and acts on them."""

from __future__ import annotations

import contextlib
import json
import re
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from clipperd.cli import exits, layout
from clipperd.cli.changes import clip_id, declare_changes
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.verbs import Verbs
from clipperd.process.errors import ApiError, DaemonDown

if TYPE_CHECKING:
    from clipperd.client import Client

_OPEN = "needs_attention,unconfirmed,sending,retrying,queued"
_COMMANDS = {
    "retry": "clipperd queue retry {id}",
    "resend": "clipperd queue resolve {id} --as resend      (it may then be on the page twice)",
    "mark_delivered": "clipperd queue resolve {id} --as delivered   (it is on the page)",
    "cancel": "clipperd queue cancel {id}",
    "undo": "clipperd queue undo {id}",
    "edit": "clipperd queue edit {id} FILE",
    "retarget": "clipperd queue retarget {id} --page PAGE --delivery {delivery}",
    "open": "clipperd queue open {id}",
    "reauth": "clipperd login",
}


VERBS = ("queue",)


def declare(verbs: Verbs) -> None:
    """Declare ``queue`` and its verbs."""
    queue = verbs.group(
        "queue",
        show_list,
        "list waiting clips and act on them",
        ["clipperd queue", "clipperd queue list --all", "clipperd queue retry --all"],
    )
    parser = queue.add(
        "list",
        show_list,
        "list waiting clips, with --all the history too",
        ["clipperd queue list", "clipperd queue list --state needs_attention,failed --json"],
        prints_data=True,
    )
    parser.add_argument("--all", action="store_true", help="also list delivered clips")
    parser.add_argument("--state", metavar="A,B", help="only clips in these states")
    parser.add_argument("--page", metavar="ID", help="only clips for this page")
    parser.add_argument("--search", metavar="TEXT", help="only clips whose title contains this")
    parser.add_argument(
        "--limit", type=int, default=50, metavar="N", help="list at most N clips (50)"
    )
    _add_all_accounts(parser)
    one = queue.add(
        "show",
        show,
        "show one clip and your options",
        ["clipperd queue show CLIP"],
        prints_data=True,
    )
    one.add_argument("clip", metavar="CLIP")
    _declare_actions(queue)
    declare_changes(queue)
    _declare_pause(queue)
    parser = queue.add(
        "export",
        export,
        "write every clip with its content as JSON lines",
        ["clipperd queue export clips.jsonl", "clipperd queue export - | gzip > clips.gz"],
    )
    parser.add_argument("file", metavar="FILE|-", help="a new file, or - for standard output")
    _add_all_accounts(parser)
    _declare_adopt(queue)


def _declare_pause(queue: Verbs) -> None:
    parser = queue.add(
        "pause",
        pause,
        "pause deliveries; clips are still accepted",
        ["clipperd queue pause", "clipperd queue pause --for 30m"],
        prints_data=True,
    )
    parser.add_argument(
        "--for",
        dest="length",
        metavar="TIME",
        help="duration, such as 90s, 30m, 2h or 1d; by default until resumed",
    )
    queue.add(
        "resume",
        resume,
        "resume deliveries after a pause",
        ["clipperd queue resume"],
        prints_data=True,
    )


def _declare_adopt(queue: Verbs) -> None:
    parser = queue.add(
        "adopt",
        adopt,
        "take over the waiting clips of another account, for the account that is signed in",
        ["clipperd queue adopt ada@example.org", "clipperd queue adopt ID --workspace ID"],
        prints_data=True,
    )
    parser.add_argument("account", metavar="ACCOUNT", help="its email address or id")
    parser.add_argument(
        "--workspace", metavar="ID", help="for clips whose own workspace is not connected"
    )


def _add_all_accounts(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--all-accounts",
        action="store_const",
        const="all",
        help="also the clips of other accounts on this machine",
    )


def _declare_actions(queue: Verbs) -> None:
    for name, summary in (
        ("retry", "retry a clip now"),
        ("cancel", "cancel a clip that was not sent yet"),
        ("undo", "remove a clip's blocks from Notion, except those changed since"),
        ("resolve", "decide on a clip whose outcome is unknown"),
    ):
        examples = [f"clipperd queue {name} CLIP"]
        if name == "resolve":
            examples = [f"{examples[0]} --as delivered", f"{examples[0]} --as resend"]
        parser = queue.add(name, act, summary, examples, prints_data=True)
        parser.set_defaults(action=name)
        parser.add_argument("clip", nargs="?" if name == "retry" else None, metavar="CLIP")
        parser.add_argument("--delivery", metavar="ID", help="only this delivery of the clip")
        if name == "cancel":
            _add_all_accounts(parser)
        if name == "retry":
            parser.add_argument("--all", action="store_true", help="all waiting clips")
        if name == "resolve":
            parser.add_argument(
                "--as",
                dest="verdict",
                required=True,
                choices=_VERDICTS,
                help="delivered: it is on the page; resend: send it again",
            )


_VERDICTS = ("delivered", "resend")


def show_list(args: Namespace, console: Console) -> int:
    """List clips."""
    states = getattr(args, "state", None) or (None if getattr(args, "all", False) else _OPEN)
    limit = getattr(args, "limit", 50)
    client = console.reader(args)
    found = client.clips(
        state=states,
        page_id=getattr(args, "page", None),
        q=getattr(args, "search", None),
        limit=limit,
        account=getattr(args, "all_accounts", None),
    )
    others = None
    with contextlib.suppress(DaemonDown):  # only the daemon has a status
        others = None if args.json else client.status().get("queue", {}).get("other_accounts")
    from clipperd.client import items

    clips = items(found)
    if args.json:
        console.emit(found)
    elif not clips:
        console.say("No clips are waiting." if states == _OPEN else "No clips.")
    else:
        console.say(_listing(console, clips))
        if found.get("next_cursor"):
            console.say("There are more clips. List them with a higher --limit.")
        if any(c["state"] == "needs_attention" for c in clips):
            console.say(
                "Some clips need your decision. See your options with: clipperd queue show ID"
            )
    if not getattr(args, "all_accounts", None):
        for line in layout.other_accounts(others or []):
            console.say(line)
    return exits.OK


def show(args: Namespace, console: Console) -> int:
    """Show one clip, its deliveries and the commands of its actions."""
    client = console.reader(args)
    clip = client.one_clip(clip_id(client, args.clip))
    if args.json:
        console.emit(clip)
        return exits.OK
    console.say(
        layout.facts(
            [
                ("clip", clip["id"]),
                ("state", clip["state"].replace("_", " ")),
                ("title", clip.get("title") or clip.get("preview")),
                ("format", clip.get("format")),
                ("accepted", console.ago(clip.get("created_at"))),
            ]
        )
    )
    for delivery in clip.get("deliveries", []):
        console.say()
        console.say(layout.facts(_delivery(console, delivery)))
        for action in delivery.get("actions", []):
            if action in _COMMANDS:
                console.say(f"  {_COMMANDS[action].format(id=clip['id'], delivery=delivery['id'])}")
    return exits.OK


def act(args: Namespace, console: Console) -> int:
    """Retry, cancel, undo or resolve."""
    client = console.client(args)
    everything = getattr(args, "all", False)
    if (args.clip is None) != everything:
        raise UsageError("Name one CLIP, or send --all.")
    if everything:
        answer = client.queue("retry")
    else:
        extra = {"as": args.verdict} if args.action == "resolve" else {}
        account = getattr(args, "all_accounts", None)
        answer = client.act(
            clip_id(client, args.clip),
            args.action,
            account=account,
            delivery_id=args.delivery,
            **extra,
        )
    if args.json:
        console.emit(answer)
    elif everything:
        console.say("clipperd retries all waiting clips now.")
    else:
        console.say(
            f"{args.action.capitalize()}: the clip is now {answer.get('state', 'changed')}."
        )
        _print_left(console, answer)
        if args.action == "cancel":
            _print_arrived(console, answer)
    return exits.OK


def adopt(args: Namespace, console: Console) -> int:
    """Take over the clips of another account, named by its address or id."""
    client = console.client(args)
    others = (client.status().get("queue") or {}).get("other_accounts") or []
    named = [each for each in others if args.account in (each["user_id"], each.get("email"))]
    if len(named) != 1:
        for each in others:
            console.warn(f"  {each['user_id']}  {layout.plain(each.get('email'))}")
        raise UsageError(
            "Several accounts have this address. Name one by its id."
            if named
            else "No other account with this address or id has waiting clips here."
        )
    answer = client.adopt(named[0]["user_id"], args.workspace)
    if args.json:
        console.emit(answer)
        return exits.OK
    console.say(f"{layout.count(answer['adopted'], 'clip')} taken over.")
    if answer["left"]:
        console.say(
            f"{layout.count(answer['left'], 'clip')} stayed: this account has not connected their"
            " workspace. Choose another one with: --workspace ID (clipperd workspaces lists them)"
        )
    return exits.OK


def pause(args: Namespace, console: Console) -> int:
    """Pause the whole queue."""
    seconds = None if args.length is None else read_duration(args.length)
    answer = console.client(args).queue("pause", for_s=seconds)
    until = "until: clipperd queue resume" if seconds is None else f"for {layout.span(seconds)}"
    console.report(args, answer, f"Paused {until}. Clips are still accepted.")
    return exits.OK


def resume(args: Namespace, console: Console) -> int:
    """End a pause."""
    answer = console.client(args).queue("resume")
    console.report(args, answer, "Deliveries are resumed.")
    return exits.OK


def export(args: Namespace, console: Console) -> int:
    """Write every clip of the user, with its content unless it was erased."""
    from pathlib import Path

    def lines(client: Client) -> Any:
        for clip in client.every_clip(account=args.all_accounts):
            try:
                found = client.content(clip["id"], account=args.all_accounts)
                clip["content"] = found["content"]
            except ApiError as error:
                if error.status != 410:  # the content was erased; the receipt remains
                    raise
                clip["content"] = None
            yield json.dumps(clip, ensure_ascii=False)

    client = console.reader(args)
    if args.file == "-":
        for line in lines(client):
            console.say(line)
        return exits.OK
    written = 0
    try:
        # "x": an export never replaces a file; 0600, because it holds clip text.
        with Path(args.file).open("x", encoding="utf-8") as file:
            Path(args.file).chmod(0o600)
            for line in lines(client):
                file.write(line + "\n")
                written += 1
    except FileExistsError as error:
        raise UsageError(f"{args.file} exists. Choose another name.") from error
    except OSError as error:
        raise UsageError(f"{args.file} cannot be written: {error.strerror}.") from error
    console.say(f"{layout.count(written, 'clip')} written to {args.file}.")
    return exits.OK


def read_duration(text: str) -> float:
    """Read ``90s``, ``30m``, ``2h``, ``1d`` or plain seconds. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise UsageError(
            f"{layout.plain(text, 20)!r} is not a duration.",
            "Use a number with s, m, h or d, such as 30m.",
        )
    return float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2)]


def _listing(console: Console, clips: list[dict[str, Any]]) -> str:
    rows = []
    for clip in clips:
        pages = [d.get("page_title") or d.get("page_id") or "" for d in clip["deliveries"]]
        where = pages[0] if len(pages) == 1 else f"{len(pages)} pages"
        title = clip.get("title") or clip.get("preview")
        age = console.ago(clip.get("created_at"))
        rows.append([clip["id"], clip["state"].replace("_", " "), age, where, title])
    head = ["CLIP", "STATE", "ACCEPTED", "PAGE", "TITLE"]
    if any(clip.get("account") for clip in clips):
        head.append("ACCOUNT")
        for row, clip in zip(rows, clips, strict=True):
            account = clip.get("account") or {}
            row.append(account.get("email") or account.get("user_id") or "")
    return layout.table(head, rows, widest=40)


def _delivery(console: Console, delivery: dict[str, Any]) -> list[tuple[str, object]]:
    chunks = delivery.get("chunks_total") or 1
    reason = delivery.get("reason")
    return [
        ("page", delivery.get("page_title") or delivery.get("page_id")),
        ("position", (delivery.get("position") or {}).get("type")),
        ("state", delivery["state"].replace("_", " ")),
        ("reason", None if reason is None else reason.replace("_", " ")),
        ("error", (delivery.get("error") or {}).get("message")),
        ("next attempt", delivery.get("next_attempt_at")),
        ("delivered", console.ago(delivery.get("delivered_at"))),
        ("parts sent", f"{delivery.get('chunks_done', 0)} of {chunks}" if chunks > 1 else None),
        ("Notion calls", delivery.get("notion_calls")),
        ("address", delivery.get("block_url")),
    ]


def _print_arrived(console: Console, clip: dict[str, Any]) -> None:
    for delivery in clip.get("deliveries", []):
        done, total = delivery.get("chunks_done") or 0, delivery.get("chunks_total") or 1
        if delivery.get("stopping"):
            console.say(f"It ends after the part that is being sent; {done} of {total} arrived.")
        elif done and delivery["state"] == "canceled":
            undo = f"clipperd queue undo {clip['id']}"
            console.say(f"{done} of {total} parts arrived. Remove them with: {undo}")


def _print_left(console: Console, clip: dict[str, Any]) -> None:
    left = [b for d in clip.get("deliveries", []) for b in (d.get("undo") or {}).get("left") or []]
    if left:
        console.say(f"{layout.count(len(left), 'block')} stayed: changed in Notion since.")
