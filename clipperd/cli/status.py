"""``status``, ``events``, ``version``: shows the state of the daemon."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from clipperd import __version__
from clipperd.cli import exits, layout
from clipperd.cli.console import Console
from clipperd.cli.verbs import Verbs
from clipperd.errors import BrokerNotConfigured
from clipperd.process.errors import DaemonDown, DaemonUntrusted

_STATES = (
    "queued",
    "sending",
    "retrying",
    "unconfirmed",
    "needs_attention",
    "failed",
)
_CONNECTIVITY = {
    "online": "online",
    "offline": "offline; clips are kept and sent later",
    "degraded": "degraded; clips are kept and sent later",
    "reauth_required": "expired; sign in again with: clipperd login",
    "signed_out": "signed out; sign in with: clipperd login",
}


VERBS = ("status", "events", "version")


def declare(verbs: Verbs) -> None:
    """Declare ``status``, ``events`` and ``version``."""
    verbs.add(
        "status",
        status,
        "show if clipperd runs, if it is online, and how many clips wait",
        ["clipperd status", "clipperd status --json"],
        prints_data=True,
    )
    parser = verbs.add(
        "events",
        events,
        "follow the events until Ctrl-C",
        ["clipperd events", "clipperd events --types clip,status --json"],
        prints_data=True,
    )
    parser.add_argument(
        "--types", metavar="A,B", help="only these: clip, status, session, pages, outline"
    )
    verbs.add("version", version, "show versions", ["clipperd version --json"], prints_data=True)


def status(args: Namespace, console: Console) -> int:
    """Show the state of the daemon; exit 1 when it does not run."""
    client = console.client(args)
    try:
        found = client.status()
        session = client.session()
    except (DaemonDown, DaemonUntrusted) as error:
        return _down(args, console, error)
    if args.json:
        console.emit({"running": True, "endpoint": _endpoint(client.endpoint), **found})
        return exits.OK
    connectivity = found.get("connectivity") or {}
    user = session.get("user") or {}
    current: dict[str, Any] = next(
        (w for w in session.get("workspaces", []) if w.get("current")), {}
    )
    at = client.endpoint
    console.say(
        layout.facts(
            [
                ("clipperd", f"{found.get('version')} at {at.url} (process {at.pid})"),
                ("since", console.ago(at.started_at)),
                ("account", user.get("email") or user.get("name")),
                ("workspace", current.get("name")),
                ("connection", _connection(connectivity)),
                ("queue", _queue(found.get("queue") or {})),
                ("pages", _index(found.get("index") or {})),
            ]
        )
    )
    queue = found.get("queue") or {}
    for line in layout.other_accounts(queue.get("other_accounts") or []):
        console.say(line)
    if queue.get("needs_attention"):
        console.say("Some clips need your decision. List them with: clipperd queue")
    return exits.OK


def events(args: Namespace, console: Console) -> int:
    """Print events until the daemon stops."""
    types = [] if args.types is None else [t for t in args.types.split(",") if t]
    client = console.client(args)
    for event in client.events(types):
        if args.json:
            line = {"type": event.type, "id": event.id, "data": event.data}
            console.say(json.dumps(line, ensure_ascii=False))
        else:
            console.say(_event(event.type, event.data))
    raise DaemonDown("clipperd has stopped.", hint="Start it with: clipperd start")


def version(args: Namespace, console: Console) -> int:
    """Print the versions of clipperd, Python and SQLite."""
    import platform
    import sqlite3

    shown = {
        "clipperd": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "platform": sys.platform,
    }
    if args.json:
        console.emit(shown)
    else:
        console.say(layout.facts(list(shown.items())))
    return exits.OK


def _down(args: Namespace, console: Console, error: DaemonDown | DaemonUntrusted) -> int:
    from clipperd.outbox import offline
    from clipperd.process import endpoint, lock

    places = console.places(args)
    pid = lock.holder(places.lock_file)
    stale = endpoint.read(places.endpoint_file)
    waiting = offline.waiting(places.outbox)
    if args.json:
        console.emit(
            {"running": False, "code": error.code, "waiting_clips": waiting, "lock_held_by": pid}
        )
        return exits.FAILED
    if pid is not None:
        console.say(f"Process {pid} runs as clipperd here, but its API does not answer.")
        console.say("  It may still be starting. If it keeps failing, run: clipperd restart")
    elif isinstance(error, DaemonUntrusted):
        console.say(f"clipperd is not running. {error.detail}")
    else:
        ended = (
            " It did not end cleanly; your accepted clips are safe." if stale is not None else ""
        )
        console.say(f"clipperd is not running.{ended}")
    for each in offline.accounts(places.outbox):
        number, owner = int(each["waiting"]), layout.plain(each["email"] or each["user_id"])
        then = "when it runs" if each["state"] == "signed_in" else f"after {owner} signs in"
        if number and each["is_current"]:
            console.say(f"  {layout.count(number, 'clip')} on disk will be delivered {then}.")
        elif not each["is_current"]:
            for line in layout.other_accounts([each]):
                console.say(f"  {line}")
    if pid is None:
        console.say("  Start it with: clipperd start")
    return exits.FAILED


def _endpoint(found: Any) -> dict[str, Any]:
    return {"url": found.url, "port": found.port, "pid": found.pid, "started_at": found.started_at}


def _connection(connectivity: dict[str, Any]) -> str:
    if connectivity.get("why") == "broker_not_configured":
        return f"no broker is configured. {BrokerNotConfigured.remedy}"
    state = str(connectivity.get("state", ""))
    return _CONNECTIVITY.get(state, state)


def _queue(queue: dict[str, Any]) -> str:
    parts = [f"{queue[s]} {s.replace('_', ' ')}" for s in _STATES if queue.get(s)]
    if queue.get("paused") or queue.get("paused_until"):
        parts.append("paused")
    if queue.get("held_for_reauth"):
        parts.append("held until you sign in again")
    eta = queue.get("eta_s")
    if queue.get("draining") and eta:
        parts.append(f"about {layout.span(float(eta))} left")
    return ", ".join(parts) or "no clips wait"


def _index(index: dict[str, Any]) -> str | None:
    if not index:
        return None
    state = {"never": "not read yet", "complete": "complete", "error": "last refresh failed"}
    return f"{index.get('count', 0)} known, {state.get(str(index.get('state')), 'being read')}"


def _event(kind: str, data: Any) -> str:
    if kind == "clip" and isinstance(data, dict):
        title = layout.plain(data.get("title") or data.get("preview"), 50)
        return f"clip      {data.get('state', ''):<16} {title}  {data.get('id', '')}"
    if kind == "session" and isinstance(data, dict):
        return f"session   {data.get('state', '')}"
    if kind == "status" and isinstance(data, dict):
        state = (data.get("connectivity") or {}).get("state", "")
        return f"status    {state:<16} {_queue(data.get('queue') or {})}"
    return f"{kind:<9} {layout.plain(json.dumps(data, ensure_ascii=False), 100)}"
