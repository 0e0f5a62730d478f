"""``cloud-broker keys``: fresh key material, and which keys the stored rows need."""

from __future__ import annotations

import argparse
import asyncio
import base64
import secrets

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.cli.database import existing_database
from cloud_broker.errors import KeysRefused
from cloud_broker.settings.config import Settings
from cloud_broker.settings.parsers import KEY_BYTES
from cloud_broker.storage import keycheck


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    kinds = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    kinds.add_parser("new", help="print a fresh value for each key setting")
    status = kinds.add_parser("status", help="say how many rows each encryption key seals")
    add_config(status)
    parser.epilog = "examples:\n  cloud-broker keys new >> broker.env\n  cloud-broker keys status"


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    if args.keys_command == "new":
        print(new_keys())
    else:
        print(asyncio.run(_status(settings_of(args))))
    return 0


def new_keys() -> str:
    """Two lines of environment, each with one new key under a new id; kept nowhere."""
    return "\n".join(
        f"{name}={_new_key()}" for name in ("BROKER_ENCRYPTION_KEYS", "BROKER_SIGNING_KEYS")
    )


def _new_key() -> str:
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    return f"k{secrets.token_hex(4)}:{key}"


async def _status(settings: Settings) -> str:
    """How many rows each encryption key seals. Raises KeysRefused when one is missing."""
    async with existing_database(settings) as database, database.reading() as tx:
        used = await keycheck.rows_by_key(tx)
    ring = [kid for kid, _ in settings.encryption_keys]
    missing = sorted(used.keys() - set(ring))
    if missing:
        raise KeysRefused(
            f"Rows are sealed with keys that BROKER_ENCRYPTION_KEYS does not hold: "
            f"{', '.join(f'{kid} ({used[kid]} rows)' for kid in missing)}.",
            hint="Add them again, behind the first one.",
        )
    roles = ["seals and opens", *["opens only"] * (len(ring) - 1)]
    return "\n".join(
        f"{kid}  {role}  {used.get(kid, 0)} rows" for kid, role in zip(ring, roles, strict=True)
    )
