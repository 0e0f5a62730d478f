"""Implements ``cloud-broker migrate``: update the database, or check if it is up to date."""

from __future__ import annotations

import argparse
import asyncio

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.clock import SystemClock
from cloud_broker.settings.config import Settings
from cloud_broker.storage.migrations import SchemaStatus, check, migrate
from cloud_broker.storage.opening import open_database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--check", action="store_true", help="change nothing; exit 5 when a migration is missing"
    )
    how.add_argument(
        "--contract",
        action="store_true",
        help="also remove what only earlier versions use; stop those versions first",
    )
    add_config(parser)
    parser.epilog = (
        "examples:\n"
        "  cloud-broker migrate --config broker.toml\n"
        "  cloud-broker migrate --check     before a release: is a migration missing?\n"
        "  cloud-broker migrate --contract  after a release, when every broker runs it"
    )


def run(args: argparse.Namespace) -> int:
    """Migrate or check, and print the result."""
    work = _migrate(settings_of(args), check_only=args.check, contract=args.contract)
    print(asyncio.run(work))
    return 0


async def _migrate(settings: Settings, *, check_only: bool, contract: bool) -> str:
    database = await open_database(
        settings.database_url.reveal(),
        connections=settings.database_connections,
        must_exist=check_only,
    )
    try:
        if check_only:
            return _status_text(await check(database))
        applied = await migrate(database, SystemClock(), contract=contract)
        status = _status_text(await check(database))
    finally:
        await database.close()
    return f"{applied} migrations applied. {status}" if applied else status


def _status_text(found: SchemaStatus) -> str:
    sentences = ["The database is up to date."]
    if found.later:
        sentences.append(f"A later version has added to it: {', '.join(found.later)}.")
    if found.missing:
        names = ", ".join(step.name for step in found.missing)
        sentences.append(
            "When no earlier version runs any more, run: cloud-broker migrate --contract"
            f" (it applies {names})."
        )
    return " ".join(sentences)
