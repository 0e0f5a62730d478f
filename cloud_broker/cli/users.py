"""Implements ``cloud-broker users``: show, export or delete an account; unblock a workspace."""

from __future__ import annotations

import argparse
import asyncio
import json

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.cli.operator import OperatorContext, operator_context
from cloud_broker.cli.verbs import add_verb
from cloud_broker.errors import NotFound
from cloud_broker.settings.config import Settings
from cloud_broker.storage import accounts as rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    kinds = parser.add_subparsers(dest="users_command", required=True, metavar="COMMAND")
    for name, help_text in (
        ("show", "print profile, workspaces, subscription and number of sessions, as JSON"),
        ("export", "print every stored row about an account, as JSON without secrets"),
        ("delete", "delete an account immediately, as its owner can; revokes its tokens"),
    ):
        example = f"users {name} ada@example.org --config broker.toml"
        kind = add_verb(kinds, name, help=help_text, example=example)
        kind.add_argument("user", metavar="USER", help="the account's id or e-mail address")
        add_config(kind)
    unblock = add_verb(
        kinds,
        "unblock",
        help="let the next account that connects a workspace have it",
        example="users unblock 0b1f0c9e-2222-4a4a-8c8c-000000000002",
        description="Lets the next account that connects a workspace have it, even a blocked one.\n"
        "Connected accounts stay connected. The audit log records the command.",
    )
    unblock.add_argument("workspace", metavar="WORKSPACE_ID", help="Notion's id of the workspace")
    add_config(unblock)
    parser.epilog = (
        "examples:\n"
        "  cloud-broker users show ada@example.org\n"
        "  cloud-broker users export ada@example.org > ada.json\n"
        "  cloud-broker users delete 0b1f0c9e-1111-4a4a-8c8c-000000000001\n"
        "  cloud-broker users unblock 0b1f0c9e-2222-4a4a-8c8c-000000000002"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command and print its result."""
    settings = settings_of(args)
    if args.users_command == "unblock":
        print(asyncio.run(_unblock(settings, args.workspace)))
    else:
        work = {"show": _show, "export": _export, "delete": _delete}[args.users_command]
        print(asyncio.run(work(settings, args.user)))
    return 0


async def _show(settings: Settings, name: str) -> str:
    async with operator_context(settings) as operator:
        user_id = await _user(operator, name)
        summary = await operator.identity.accounts.summary(user_id)
        sessions = await operator.identity.sessions.sessions_of(user_id)
        return _json({**summary, "sessions": len(sessions)})


async def _export(settings: Settings, name: str) -> str:
    async with operator_context(settings) as operator:
        return _json(await operator.identity.accounts.export(await _user(operator, name)))


async def _delete(settings: Settings, name: str) -> str:
    async with operator_context(settings) as operator:
        await operator.identity.accounts.erase(await _user(operator, name))
        waiting = await operator.revoke_at_notion()
    return f"The account is deleted. {waiting} tokens wait to be revoked at Notion."


async def _unblock(settings: Settings, workspace_id: str) -> str:
    async with operator_context(settings) as operator:
        if not await operator.identity.accounts.release_workspace(workspace_id):
            raise NotFound(
                "No account has connected this workspace, so the first one that does gets it.",
                hint="Check the id: `cloud-broker users show` prints the ids of workspaces.",
            )
    return "The next account that connects this workspace gets it."


async def _user(operator: OperatorContext, name: str) -> str:
    """Return the account's id. Raises NotFound."""
    async with operator.database.reading() as tx:
        found = await rows.find_user(tx, name)
    if len(found) > 1:
        raise NotFound(
            f"{len(found)} accounts have this address.", hint=f"Use an id: {', '.join(found)}"
        )
    if not found:
        raise NotFound("No account has this id or address. Check its spelling.")
    return found[0]


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
