"""``cloud-broker migrate``: bring the database up to date, or say whether it is."""

from __future__ import annotations

import argparse
import asyncio

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.clock import SystemClock
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import to_ms
from cloud_broker.storage.migrations import check, migrate
from cloud_broker.storage.opening import open_database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 5 when something is missing"
    )
    add_config(parser)
    parser.epilog = (
        "examples:\n"
        "  cloud-broker migrate --config broker.toml\n"
        "  cloud-broker migrate --check     before a release: is anything missing?"
    )


def run(args: argparse.Namespace) -> int:
    """Do it and print a sentence."""
    print(asyncio.run(_migrate(settings_of(args), check_only=args.check)))
    return 0


async def _migrate(settings: Settings, *, check_only: bool) -> str:
    database = await open_database(
        settings.database_url.reveal(), connections=settings.database_connections
    )
    try:
        if check_only:
            await check(database)
            return "The database is up to date."
        applied = await migrate(database, now=to_ms(SystemClock().now()))
        return f"{applied} migrations applied." if applied else "The database is up to date."
    finally:
        await database.close()
