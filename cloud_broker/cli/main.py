"""Runs the command ``cloud-broker``.

Each verb is a row of ``COMMANDS``: its name, one line of help, and its module, imported only when
the verb runs. The module has ``add_arguments(parser)``, which may also set ``parser.epilog`` to
examples, and ``run(args) -> int``, which returns the exit code or raises a BrokerError;
``args.environment`` is the environment.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from cloud_broker.cli.interpreter import open_missing_streams
from cloud_broker.cli.verbs import EXIT_CODES
from cloud_broker.errors import (
    BrokerError,
    ConfigurationInvalid,
    DatabaseFailed,
    KeysInUse,
    KeysRefused,
    PortTaken,
)


@dataclass(frozen=True, slots=True)
class Command:
    """A verb and the module that implements it."""

    name: str
    module: str
    help: str


COMMANDS: tuple[Command, ...] = (
    Command("run", "cloud_broker.cli.serve", "run the broker"),
    Command("migrate", "cloud_broker.cli.migrate", "bring the database up to date"),
    Command("check-config", "cloud_broker.cli.check_config", "check the settings and stop"),
    Command("keys", "cloud_broker.cli.keys", "make, count and change encryption and signing keys"),
    Command("users", "cloud_broker.cli.users", "accounts: show, export, delete; unblock"),
    Command(
        "revoke-all",
        "cloud_broker.cli.revoke_all",
        "sign out every user, disconnect every workspace",
    ),
    Command("audit", "cloud_broker.cli.audit", "check the audit log"),
    Command(
        "webhook-token",
        "cloud_broker.cli.webhook_token",
        "print the verification token of Notion's webhook",
    ),
    Command("sandbox", "cloud_broker.sandbox.command", "run the stand-in for Notion"),
    Command(
        "ratelimit-probe",
        "cloud_broker.ratelimit_probe.command",
        "measure the scope of Notion's rate limit",
    ),
    Command("version", "cloud_broker.cli.about", "print the version"),
)
INSTALL = "  In the project's folder, run: pip install '.[broker]'"
FAILED, CONFIGURATION, DATABASE, PORT, KEYS = 1, 4, 5, 6, 7
_EXIT: tuple[tuple[type[BrokerError], int], ...] = (
    (ConfigurationInvalid, CONFIGURATION),
    (DatabaseFailed, DATABASE),
    (PortTaken, PORT),
    (KeysRefused, KEYS),
    (KeysInUse, KEYS),
)
_EXAMPLES = """examples:
  cloud-broker keys new                 print new keys for the two key settings
  cloud-broker check-config             report every invalid setting, start nothing
  cloud-broker run --config broker.toml
  BROKER_PORT=0 cloud-broker run        let the system choose a port and print it
  cloud-broker migrate --check          check if the database is up to date
  cloud-broker audit verify             check that no audit row was changed
  cloud-broker keys status              show how many rows each encryption key seals
  cloud-broker keys rewrap              seal all rows with the first key, while brokers run
  cloud-broker users export a@b.org     print every stored row about an account
  cloud-broker revoke-all               sign out every user, disconnect every workspace
  cloud-broker sandbox                  run a stand-in for Notion, for development
  cloud-broker ratelimit-probe          rehearse the experiment on Notion's rate limit

Run a command with --help for its options."""


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_missing_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parser_for(arguments).parse_args(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "cloud_broker").startswith("cloud_broker"):
            raise
        print(
            f"cloud-broker: The package {error.name} is not installed.\n{INSTALL}", file=sys.stderr
        )
        return FAILED
    args.environment = os.environ if env is None else env
    try:
        return int(args.run(args))
    except BrokerError as error:
        return _report(error)
    except KeyboardInterrupt:
        return 0


def _report(error: BrokerError) -> int:
    lines = error.faults if isinstance(error, ConfigurationInvalid) else (error.detail,)
    print(f"cloud-broker: {error.title}.", file=sys.stderr)
    for line in lines:
        print(f"  - {line}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    return next((code for kind, code in _EXIT if isinstance(error, kind)), FAILED)


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser with every verb, and with the options of the verb in ``arguments``."""
    named = next((word for word in arguments if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(
        prog="cloud-broker",
        description="Connects clients to Notion and keeps Notion's tokens away from them.",
        epilog=f"{_EXAMPLES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"cloud-broker {version('clipperd')}"
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        verb = verbs.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.name == named:
            module = import_module(command.module)
            module.add_arguments(verb)
            verb.epilog = "\n\n".join(filter(None, (verb.epilog, EXIT_CODES)))
            verb.set_defaults(run=module.run)
    return parser
