"""Implements ``cloud-broker revoke-all``: end every session, revoke every connection."""

from __future__ import annotations

import argparse
import asyncio
import sys

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.cli.operator import operator_context, progress
from cloud_broker.settings.config import Settings
from cloud_broker.storage import accounts as rows

USAGE = 2
WORD = "revoke all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    add_config(parser)
    parser.description = (
        "Ends every session, deletes every connection, and revokes the tokens at Notion.\n"
        "Accounts stay: users sign in and connect again. Running brokers refuse the old\n"
        "sessions within five seconds. If it is stopped, run it again."
    )
    parser.epilog = "examples:\n  cloud-broker revoke-all\n  cloud-broker revoke-all --yes"


def run(args: argparse.Namespace) -> int:
    """Ask, revoke everything, and print the result."""
    settings = settings_of(args)
    if not args.yes and not _is_confirmed():
        return USAGE
    print(asyncio.run(revoke_all(settings)))
    return 0


async def revoke_all(settings: Settings) -> str:
    """End everything; return the result as a sentence. Raises DatabaseFailed or KeysRefused."""
    sessions = connections = 0
    show_progress = progress("accounts")
    async with operator_context(settings) as operator:
        accounts = operator.identity.accounts
        async with operator.database.reading() as tx:
            users = await rows.user_ids(tx)
        for number, user_id in enumerate(users, 1):
            ended, dropped = await accounts.revoke_everything(user_id, why="revoke_all")
            sessions, connections = sessions + ended, connections + dropped
            show_progress(number)
        waiting = await operator.revoke_at_notion()
        await operator.database.tidy()
    return (
        f"{sessions} sessions ended, {connections} connections deleted, of {len(users)} accounts."
        f" {waiting} tokens wait to be revoked at Notion"
        f"{'; running brokers continue to revoke them' if waiting else ''}."
    )


def _is_confirmed() -> bool:
    if not sys.stdin.isatty():
        print(
            "cloud-broker: revoke-all asks for confirmation on a terminal. Without one, add --yes.",
            file=sys.stderr,
        )
        return False
    print("This signs out every user and disconnects every workspace. You cannot undo it.")
    try:
        answer = input(f'Type "{WORD}" to continue: ')
    except EOFError:
        answer = ""
    if answer.strip() != WORD:
        print("Nothing was changed.")
        return False
    return True
