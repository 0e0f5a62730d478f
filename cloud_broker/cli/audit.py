"""Implements ``cloud-broker audit verify``: check the audit chain."""

from __future__ import annotations

import argparse
import asyncio

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.cli.database import existing_database
from cloud_broker.cli.verbs import add_verb
from cloud_broker.errors import AuditBroken
from cloud_broker.settings.config import Settings
from cloud_broker.storage import audit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    kinds = parser.add_subparsers(dest="audit_command", required=True, metavar="COMMAND")
    verify = add_verb(
        kinds,
        "verify",
        help="check that no row was changed or removed",
        example="audit verify --config broker.toml",
    )
    add_config(verify)
    parser.epilog = "example:\n  cloud-broker audit verify --config broker.toml"


def run(args: argparse.Namespace) -> int:
    """Check the chain and print the result."""
    print(asyncio.run(_verify(settings_of(args))))
    return 0


async def _verify(settings: Settings) -> str:
    async with existing_database(settings) as database:
        checked, misfit = await audit.verify(database)
    if misfit is not None:
        raise AuditBroken(
            f"Row {misfit} does not match the {checked} rows before it: it was changed, or rows"
            " before it are missing. Compare the log with a backup."
        )
    return f"{checked} rows checked: each is sealed to the one before it."
