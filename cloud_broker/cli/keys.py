"""Implements ``cloud-broker keys``: make keys, count their rows, rewrap rows, drop old keys."""

from __future__ import annotations

import argparse
import asyncio
import base64
import secrets

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.cli.database import existing_database
from cloud_broker.cli.operator import operator_context, progress
from cloud_broker.cli.verbs import add_verb
from cloud_broker.crypto.keyproof import require
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import KeysInUse, KeysRefused
from cloud_broker.identity.rewrap import Rewrap
from cloud_broker.settings.config import Settings
from cloud_broker.settings.parsers import KEY_BYTES, raw_keys
from cloud_broker.storage import keycheck
from cloud_broker.storage.audit import Fact

NAMES = {"encryption": "BROKER_ENCRYPTION_KEYS", "signing": "BROKER_SIGNING_KEYS"}
BROKEN_NAMED = 5  # rows that do not open and are named in the error
_EXAMPLES = """examples:
  cloud-broker keys new >> broker.env
  cloud-broker keys new --only encryption      one key, without the setting's name
  cloud-broker keys status                     which key seals how many rows
  cloud-broker keys rewrap --dry-run           how many rows would be sealed again
  cloud-broker keys rewrap                     while brokers run; if stopped, run it again
  cloud-broker keys trim                       drop the older keys; exit 7: still needed

How to change a key: docs/runbook.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    kinds = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    new = add_verb(
        kinds,
        "new",
        help="print a new value for each key setting; stores nothing",
        example="keys new --only encryption",
    )
    new.add_argument("--only", choices=list(NAMES), help="one value, without the setting's name")
    status = add_verb(
        kinds,
        "status",
        help="show how many rows each encryption key seals",
        example="keys status --config broker.toml",
    )
    rewrap = add_verb(
        kinds,
        "rewrap",
        example="keys rewrap --dry-run",
        help="seal every row with the first encryption key, while brokers run",
        description="Seals every row with the first encryption key, in batches, while brokers\n"
        "run. If it is stopped, run it again. Exit 7 when rows are left.",
    )
    rewrap.add_argument("--dry-run", action="store_true", help="count, change nothing")
    trim = add_verb(
        kinds,
        "trim",
        example="keys trim",
        help="drop every encryption key but the first, once no row needs it",
        description="Shows which keys you can remove from the setting, and drops them from the\n"
        "database. Exit 7, without a change, while a row needs one of them.",
    )
    for kind in (status, rewrap, trim):
        add_config(kind)
    parser.epilog = _EXAMPLES


def run(args: argparse.Namespace) -> int:
    """Run the command and print its result."""
    if args.keys_command == "new":
        print(new_key() if args.only else new_keys())
        return 0
    settings = settings_of(args)
    if args.keys_command == "rewrap":
        print(asyncio.run(rewrap(settings, dry_run=args.dry_run)))
    elif args.keys_command == "trim":
        print(asyncio.run(_trim(settings)))
    else:
        print(asyncio.run(_status(settings)))
    return 0


def new_keys() -> str:
    """Return two lines of environment, each with a new key under a new id."""
    return "\n".join(f"{name}={new_key()}" for name in NAMES.values())


def new_key() -> str:
    """Return a new key under a new id, as a key setting takes it."""
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    return f"k{secrets.token_hex(4)}:{key}"


async def rewrap(settings: Settings, *, dry_run: bool) -> str:
    """Seal every row with the first key; return the result as a sentence.

    Raises KeysRefused, KeysInUse when rows are left, or DatabaseFailed; rewrapped rows stay so.
    """
    async with operator_context(settings) as operator:
        ring = operator.identity.ring
        task = Rewrap(operator.database, ring, operator.identity.audit)
        if dry_run:
            return f"{_counted(await task.left())} would be sealed again with {ring.first}."
        done = await task.run(progress("rows"))
        await operator.database.tidy()
    result = f"{done.moved} rows sealed again with {ring.first}"
    if done.broken:
        names = sorted(done.broken)[:BROKEN_NAMED]
        raise KeysRefused(
            f"{result}; {len(done.broken)} rows cannot be opened, such as {', '.join(names)}.",
            hint="They were changed outside the broker. Their users must connect Notion again.",
        )
    if done.left:
        raise KeysInUse(
            f"{result}; {_counted(done.left)} were sealed with another key meanwhile.",
            hint=f"Restart every broker with {ring.first} as its first key, then run this again.",
        )
    return f"{result}; no row needs another key."


async def _trim(settings: Settings) -> str:
    async with operator_context(settings) as operator, operator.database.transaction() as tx:
        ring = operator.identity.ring
        used = await keycheck.rows_by_key(tx)
        older = {kid: many for kid, many in sorted(used.items()) if kid != ring.first}
        if older:
            raise KeysInUse(
                f"{_counted(older)} are sealed with older keys.",
                hint="Run: cloud-broker keys rewrap",
            )
        gone = await keycheck.drop_proofs(tx, but=ring.first)
        facts: dict[str, Fact] = {"kept": ring.first, "given_up": len(gone)}
        await operator.identity.audit.write(tx, "keys_trimmed", "", facts=facts, subject={})
    if not gone:
        return f"{ring.first} is the only key."
    return f"No row needs {', '.join(gone)}. Remove them from BROKER_ENCRYPTION_KEYS."


async def _status(settings: Settings) -> str:
    ring = KeyRing(raw_keys(settings.encryption_keys))
    async with existing_database(settings) as database, database.reading() as tx:
        used = await keycheck.rows_by_key(tx)
    require(ring, used)
    roles = ["seals and opens", *["opens only"] * (len(ring.kids) - 1)]
    return "\n".join(
        f"{kid}  {role}  {used.get(kid, 0)} rows"
        for kid, role in zip(ring.kids, roles, strict=True)
    )


def _counted(left: dict[str, int]) -> str:
    named = ", ".join(f"{kid}: {many}" for kid, many in left.items())
    return f"{sum(left.values())} rows{f' ({named})' if named else ''}"
