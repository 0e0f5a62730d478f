"""``login``, ``logout``, ``whoami``, ``workspaces``: the account and its workspaces."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from clipperd.cli import exits, layout
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clipperd.client import Client, ServerEvent

_POLL_S = 0.3  # seconds between looks at a sign-in


VERBS = ("login", "logout", "whoami", "workspaces")


def declare(verbs: Verbs) -> None:
    """Declare ``login``, ``logout``, ``whoami`` and ``workspaces``."""
    parser = verbs.add(
        "login",
        login,
        "sign in through your browser",
        ["clipperd login", "clipperd login --no-browser", "clipperd login --add-workspace"],
        prints_data=True,
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, do not open it"
    )
    purpose = parser.add_mutually_exclusive_group()
    purpose.add_argument("--add-workspace", action="store_true", help="connect one more workspace")
    purpose.add_argument(
        "--change-access", action="store_true", help="choose the pages that clipperd may use"
    )
    verbs.add(
        "logout", logout, "sign out; waiting clips are kept for this account", ["clipperd logout"]
    )
    verbs.add(
        "whoami",
        whoami,
        "show the account and its workspaces",
        ["clipperd whoami", "clipperd whoami --json"],
        prints_data=True,
    )
    parser = verbs.add(
        "workspaces",
        workspaces,
        "list the connected workspaces, or set the current one",
        ["clipperd workspaces", "clipperd workspaces --use 'Team notes'"],
        prints_data=True,
    )
    parser.add_argument("--use", metavar="ID|NAME", help="set the current workspace")


def login(args: Namespace, console: Console) -> int:
    """Start a sign-in, open the browser, and wait for the end of the sign-in."""
    client = console.client(args)
    before = client.session()
    purpose = _purpose(args)
    if purpose == "sign_in" and before.get("state") == "signed_in":
        return _already(args, console, before)
    stream = client.events(["session"])
    if purpose != "sign_in":
        next(stream)  # the snapshot: later events are not missed
    login_started = client.login(purpose)
    after: dict[str, Any] | None
    try:
        _send_to_browser(args, console, login_started["login_url"])
        if purpose == "sign_in":
            after = _wait_signed_in(client, float(login_started["expires_in"]))
        else:
            after = _wait_extended(client, stream)
    except KeyboardInterrupt:
        client.cancel_login(login_started["login_id"])
        console.warn("Sign-in canceled.")
        return exits.INTERRUPTED
    if after is None or (purpose == "add_workspace" and _ids(after) == _ids(before)):
        console.warn("clipperd: The sign-in was refused or expired; nothing has changed.")
        console.warn("  Try again with: clipperd login")
        return exits.FAILED
    if args.json:
        console.emit(after)
    else:
        console.say(f"Signed in as {_user_name(after)}.")
        console.say(_next_step(after))
    return exits.OK


def _send_to_browser(args: Namespace, console: Console, url: str) -> None:
    console.warn("Sign in to Notion in your browser (Ctrl-C gives up):")
    console.warn(f"  {url}")
    if not args.no_browser and not console.browse(url):
        console.warn("clipperd could not open a browser. Open the address yourself.")


def logout(args: Namespace, console: Console) -> int:
    """Sign out."""
    client = console.client(args)
    before = client.session()
    if before.get("state") == "signed_out":
        console.say("You are not signed in.")
        return exits.OK
    client.logout()
    console.say(f"Signed out {_user_name(before)}. Your waiting clips are kept for this account.")
    return exits.OK


def whoami(args: Namespace, console: Console) -> int:
    """Show the session; exit 1 when no user is signed in."""
    session = console.client(args).session()
    signed_in = session.get("state") in ("signed_in", "reauth_required")
    if args.json:
        console.emit(session)
    elif not signed_in:
        console.say("You are not signed in. Sign in with: clipperd login")
    else:
        user = session.get("user") or {}
        tier = (session.get("subscription") or {}).get("tier")
        console.say(
            layout.facts(
                [("name", user.get("name")), ("email", user.get("email")), ("plan", tier)]
                + [("workspace", _workspace(w)) for w in session.get("workspaces") or []]
            )
        )
        if session.get("state") == "reauth_required":
            console.say("Your session has expired. Sign in again with: clipperd login")
    return exits.OK if signed_in else exits.FAILED


def workspaces(args: Namespace, console: Console) -> int:
    """List the workspaces; ``--use`` sets the current one first."""
    client = console.client(args)
    if args.use is not None:
        client.use_workspace(_workspace_id(client.workspaces(), args.use))
    found = client.workspaces()
    if args.json:
        console.emit(found)
    elif not found:
        console.say("No workspace is connected. Sign in with: clipperd login")
    else:
        rows = [["*" if w.get("current") else "", w.get("name"), w["id"]] for w in found]
        console.say(layout.table(["", "WORKSPACE", "ID"], rows))
    return exits.OK


def _purpose(args: Namespace) -> str:
    if args.add_workspace:
        return "add_workspace"
    return "change_access" if args.change_access else "sign_in"


def _already(args: Namespace, console: Console, session: dict[str, Any]) -> int:
    if args.json:
        console.emit(session)
    else:
        console.say(f"You are signed in as {_user_name(session)}.")
        console.say("To use another account, run clipperd logout first.")
        console.say("To connect one more workspace, run: clipperd login --add-workspace")
    return exits.OK


def _wait_signed_in(client: Client, expires_in: float) -> dict[str, Any] | None:
    """Poll until the sign-in has ended; return the new session, or None when it failed."""
    from clipperd.client import pause, until

    for _ in until(expires_in):
        now = client.session()
        if now.get("state") == "signed_in":
            return now
        if now.get("state") != "signing_in":
            return None
        pause(_POLL_S)
    return None


def _wait_extended(client: Client, stream: Iterator[ServerEvent]) -> dict[str, Any]:
    """Wait for two session events: the start and the end of the sign-in."""
    session_events = (event for event in stream if event.type == "session")
    for _ in zip(range(2), session_events, strict=False):
        pass
    return client.session()


def _workspace_id(found: list[dict[str, Any]], wanted: str) -> str:
    matches = [
        w for w in found if w["id"] == wanted or _casefold(w.get("name")) == _casefold(wanted)
    ]
    if len(matches) == 1:
        return str(matches[0]["id"])
    count_text = "Several workspaces have" if matches else "No connected workspace has"
    raise UsageError(f"{count_text} this name.", "List them with: clipperd workspaces")


def _ids(session: dict[str, Any]) -> set[str]:
    return {w["id"] for w in session.get("workspaces") or []}


def _casefold(text: str | None) -> str:
    return (text or "").casefold()


def _user_name(session: dict[str, Any]) -> str:
    user = session.get("user") or {}
    return layout.plain(user.get("email") or user.get("name") or "this account")


def _workspace(workspace: dict[str, Any]) -> str:
    return f"{workspace.get('name')}{' (current)' if workspace.get('current') else ''}"


def _next_step(session: dict[str, Any]) -> str:
    if not session.get("workspaces"):
        return (
            "You share no page with clipperd yet. Choose pages with: clipperd login --change-access"
        )
    return "List your pages with: clipperd pages"
