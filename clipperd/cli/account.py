"""``login``, ``logout``, ``whoami``, ``workspaces``: the account and its workspaces."""

from __future__ import annotations

import json
from argparse import Namespace
from queue import Empty
from typing import TYPE_CHECKING, Any

from clipperd.cli import exits, layout
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.verbs import Verbs
from clipperd.process.errors import ApiError

if TYPE_CHECKING:
    from clipperd.client import Client

_POLL_S = 0.3  # seconds between looks at a sign-in

_WAITING = ("queued", "sending", "retrying", "unconfirmed", "needs_attention")

VERBS = ("login", "logout", "whoami", "workspaces")


def declare(verbs: Verbs) -> None:
    """Declare ``login``, ``logout``, ``whoami`` and ``workspaces``."""
    parser = verbs.add(
        "login",
        login,
        "sign in through your browser",
        [
            "clipperd login",
            "clipperd login --add-workspace",
            "clipperd login --paste            # over ssh: the browser is on another machine",
            "clipperd login --callback 'http://127.0.0.1:51234/v1/session/callback?token=…'",
        ],
        prints_data=True,
    )
    browser = parser.add_mutually_exclusive_group()
    browser.add_argument(
        "--no-browser", action="store_true", help="print the address, do not open it"
    )
    browser.add_argument(
        "--paste",
        action="store_true",
        help="use a browser on another machine: open the address there, then paste the address of"
        " its last page here",
    )
    browser.add_argument(
        "--callback", metavar="URL", help="finish a sign-in with the address of the last page"
    )
    purpose = parser.add_mutually_exclusive_group()
    purpose.add_argument("--add-workspace", action="store_true", help="connect one more workspace")
    purpose.add_argument(
        "--change-access", action="store_true", help="choose the pages that clipperd may use"
    )
    verbs.add(
        "logout",
        logout,
        "sign out; waiting clips are kept for this account",
        ["clipperd logout"],
        prints_data=True,
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
    if args.callback is not None:
        return _signed_in(args, console, client.finish_login(args.callback), client)
    before = client.session()
    purpose = _purpose(args)
    if purpose == "sign_in" and before.get("state") == "signed_in":
        return _already(args, console, before)
    login_started = client.login(purpose)
    try:
        _send_to_browser(args, console, login_started["login_url"])
        error = _wait(console, client, login_started)
    except KeyboardInterrupt:
        client.cancel_login(login_started["login_id"])
        console.warn("Sign-in canceled.")
        return exits.INTERRUPTED
    after = client.session()
    if error is None and purpose == "add_workspace" and _ids(after) == _ids(before):
        error = {"code": "nothing_new", "detail": "No other workspace was connected."}
    if error is not None:
        return _failed(args, console, error)
    return _signed_in(args, console, after, client)


def _signed_in(args: Namespace, console: Console, session: dict[str, Any], client: Client) -> int:
    if args.json:
        console.emit(session)
    else:
        console.say(f"Signed in as {_user_name(session)}.")
        console.say(_next_step(session))
    status = client.status()
    if (status.get("secrets") or {}).get("mode") == "memory":
        console.warn(
            "The session is kept in memory only: after a restart of clipperd you must sign in"
            " again."
        )
        console.warn("  To keep it, install a keyring or set CLIPPERD_SECRETS=file.")
    for line in layout.other_accounts((status.get("queue") or {}).get("other_accounts") or []):
        console.warn(line)
    return exits.OK


def _failed(args: Namespace, console: Console, error: dict[str, Any]) -> int:
    hint = "Nothing has changed. Try again with: clipperd login"
    if args.json:
        problem = {"code": error.get("code"), "detail": error.get("detail"), "hint": hint}
        console.warn(json.dumps({"error": problem}, ensure_ascii=False))
    else:
        console.warn(f"clipperd: {error.get('detail')}")
        if error.get("hint"):
            console.warn(f"  {error['hint']}")
        console.warn(f"  {hint}")
    return exits.FAILED


def _send_to_browser(args: Namespace, console: Console, url: str) -> None:
    console.warn("Sign in to Notion in your browser (Ctrl-C gives up):")
    console.warn(f"  {url}")
    opened = not (args.no_browser or args.paste) and console.browse(url)
    if not opened and not (args.no_browser or args.paste):
        console.warn("clipperd could not open a browser. Open the address yourself.")
    if not opened:
        console.warn(
            "If that browser is on another machine, its last page does not load. Copy that page's"
            " address (http://127.0.0.1:…) and paste it here."
        )


def logout(args: Namespace, console: Console) -> int:
    """Sign out."""
    client = console.client(args)
    before = client.session()
    if before.get("state") == "signed_out":
        console.report(args, before, "You are not signed in.")
        return exits.OK
    queue = client.status().get("queue") or {}
    waiting = sum(int(queue.get(state) or 0) for state in _WAITING)
    after = client.logout()
    text = f"Signed out {_user_name(before)}. Your waiting clips are kept for this account."
    console.report(args, after, text)
    if waiting:
        console.warn(
            f"Deliveries that wait for {_user_name(before)}: {waiting}. clipperd"
            " continues when this account signs in again."
        )
    return exits.OK


def whoami(args: Namespace, console: Console) -> int:
    """Show the session; exit 1 when no user is signed in."""
    session = console.reader(args).session()
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


def _wait(console: Console, client: Client, started: dict[str, Any]) -> dict[str, Any] | None:
    """Wait for the end of this sign-in, by the browser or a pasted address; return its error."""
    from clipperd.client import until

    lines = console.lines()
    shown = None
    for _ in until(float(started["expires_in"])):
        login = client.login_status(started["login_id"])
        error, state = login.get("error"), login.get("state")
        if state == "done":
            return None
        if state != "pending":
            return error or {"code": state, "detail": f"The sign-in is {state}."}
        if error is not None and error != shown:
            console.warn(f"{error.get('detail')} Reload the page in the browser to try again.")
            shown = error
        try:
            line = lines.get(timeout=_POLL_S)
        except Empty:
            continue
        try:
            client.finish_login(line)
        except ApiError as refused:
            if refused.code in ("invalid_input", "login_state_unknown"):
                console.warn(
                    f"{refused.detail} Paste the whole address of the browser's last page."
                )
    return {"code": "login_expired", "detail": "The sign-in took too long."}


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
