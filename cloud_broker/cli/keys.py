"""``cloud-broker keys``: fresh keys, which keys rows need, and moving rows from one to another."""

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
BROKEN_TOLD = 5  # how many rows that do not open are named
_EXAMPLES = """examples:
  cloud-broker keys new >> broker.env
  cloud-broker keys new --only encryption      one key, without the setting's name
  cloud-broker keys status                     which key seals how many rows
  cloud-broker keys rewrap --dry-run           how many rows would be sealed anew
  cloud-broker keys rewrap                     beside running brokers; stopped, run it again
  cloud-broker keys trim                       may the older keys go? exit 7: not yet

To change a key: docs/runbook.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    kinds = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    new = add_verb(
        kinds,
        "new",
        help="print a fresh value for each key setting; kept nowhere",
        example="keys new --only encryption",
    )
    new.add_argument("--only", choices=list(NAMES), help="one value, without the setting's name")
    status = add_verb(
        kinds,
        "status",
        help="say how many rows each encryption key seals",
        example="keys status --config broker.toml",
    )
    rewrap = add_verb(
        kinds,
        "rewrap",
        example="keys rewrap --dry-run",
        help="seal every row with the first encryption key, beside running brokers",
        description="Seals every row with the first encryption key, in batches, beside running\n"
        "brokers. Stopped at any point it can be run again. Exit 7 when rows are left.",
    )
    rewrap.add_argument("--dry-run", action="store_true", help="count, change nothing")
    trim = add_verb(
        kinds,
        "trim",
        example="keys trim",
        help="give up every encryption key but the first, once no row needs it",
        description="Says which keys can be taken out of the setting, and forgets them in the\n"
        "database. Exit 7, and nothing is changed, while a row needs one of them.",
    )
    for kind in (status, rewrap, trim):
        add_config(kind)
    parser.epilog = _EXAMPLES


def run(args: argparse.Namespace) -> int:
    """Do it and print what came of it."""
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
    """Two lines of environment, each with one new key under a new id."""
    return "\n".join(f"{name}={new_key()}" for name in NAMES.values())


def new_key() -> str:
    """A key under a new id, as a key setting takes it."""
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    return f"k{secrets.token_hex(4)}:{key}"


async def rewrap(settings: Settings, *, dry_run: bool) -> str:
    """Seal every row with the first key; return a sentence.

    Raises KeysRefused, KeysInUse when rows are left, or DatabaseFailed; what was done stays.
    """
    async with operator_context(settings) as operator:
        ring = operator.identity.ring
        task = Rewrap(operator.database, ring, operator.identity.audit)
        if dry_run:
            return f"{_counted(await task.left())} would be sealed anew with {ring.first}."
        done = await task.run(progress("rows"))
        await operator.database.tidy()
    told = f"{done.moved} rows sealed anew with {ring.first}"
    if done.broken:
        names = sorted(done.broken)[:BROKEN_TOLD]
        raise KeysRefused(
            f"{told}; {len(done.broken)} rows do not open, such as {', '.join(names)}.",
            hint="They were changed outside the broker. Their people must connect again.",
        )
    if done.left:
        raise KeysInUse(
            f"{told}; {_counted(done.left)} came under another key meanwhile.",
            hint=f"Restart every broker with {ring.first} in front, then run this again.",
        )
    return f"{told}; none is left under another key."


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
    return f"No row needs {', '.join(gone)}. Take them out of BROKER_ENCRYPTION_KEYS."


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
