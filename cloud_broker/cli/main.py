"""The command ``cloud-broker``: arguments in, exit code out."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from cloud_broker.cli import examine, keys, serve
from cloud_broker.errors import (
    BrokerError,
    ConfigurationInvalid,
    DatabaseFailed,
    KeysRefused,
    PortTaken,
)
from cloud_broker.settings.config import Settings, read_file
from cloud_broker.settings.table import SETTINGS

FAILED, CONFIGURATION, DATABASE, PORT, KEYS = 1, 4, 5, 6, 7
_EXIT: tuple[tuple[type[BrokerError], int], ...] = (
    (ConfigurationInvalid, CONFIGURATION),
    (DatabaseFailed, DATABASE),
    (PortTaken, PORT),
    (KeysRefused, KEYS),
)
_EXIT_CODES = "exit codes: 0 ok, 1 failed, 2 usage, 4 configuration, 5 database, 6 port, 7 secrets"
_EXAMPLES = """examples:
  cloud-broker keys new                 print fresh keys for the two key settings
  cloud-broker check-config             name every fault of the settings, start nothing
  cloud-broker run --config broker.toml
  BROKER_PORT=0 cloud-broker run        let the system choose the port, which is printed
  cloud-broker migrate --check          say whether the database is up to date
  cloud-broker audit verify             check that the audit log is whole
  cloud-broker keys status              say how many rows each encryption key seals
  cloud-broker sandbox                  a stand-in for Notion, to develop against
"""


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    sandbox = _sandbox() if arguments[:1] == ["sandbox"] else None
    args = _parser(sandbox).parse_args(arguments)
    environment = os.environ if env is None else env
    try:
        return _dispatch(args, environment, sandbox)
    except BrokerError as error:
        return _report(error)
    except KeyboardInterrupt:
        return 0


def _dispatch(args: argparse.Namespace, env: Mapping[str, str], sandbox: ModuleType | None) -> int:
    if args.command == "version":
        print(f"cloud-broker {version('clipperd')}")
        return 0
    if args.command == "keys" and args.keys_command == "new":
        print(keys.new_keys())
        return 0
    if sandbox is not None:
        return int(sandbox.run(args) or 0)
    settings = Settings.from_env(env, file=read_file(args.config) if args.config else None)
    if args.command == "check-config":
        print("The configuration is valid.")
        return 0
    if args.command == "migrate":
        print(asyncio.run(serve.migrate_only(settings, check_only=args.check)))
        return 0
    if args.command == "audit":
        print(asyncio.run(examine.verify_audit(settings)))
        return 0
    if args.command == "keys":
        print(asyncio.run(examine.key_status(settings)))
        return 0
    if args.command == "webhook-token":
        print(asyncio.run(examine.webhook_token(settings)))
        return 0
    asyncio.run(serve.run(settings))
    return 0


def _report(error: BrokerError) -> int:
    lines = error.faults if isinstance(error, ConfigurationInvalid) else (error.detail,)
    print(f"cloud-broker: {error.title}.", file=sys.stderr)
    for line in lines:
        print(f"  - {line}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    return next((code for kind, code in _EXIT if isinstance(error, kind)), FAILED)


def _sandbox() -> ModuleType:
    """The sandbox's command, imported only when asked for."""
    return import_module("cloud_broker.sandbox.command")


def _parser(sandbox: ModuleType | None) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="cloud-broker",
        description="Holds Notion's tokens so that no client has to.",
        epilog=f"{_EXAMPLES}\n{_EXIT_CODES}",
        formatter_class=raw,
    )
    parser.add_argument(
        "--version", action="version", version=f"cloud-broker {version('clipperd')}"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="run the broker", epilog=_settings_help(), formatter_class=raw
    )
    migrate = commands.add_parser("migrate", help="bring the database up to date")
    migrate.add_argument(
        "--check", action="store_true", help="change nothing; exit 5 when something is missing"
    )
    check = commands.add_parser("check-config", help="check the settings and stop")
    key_commands = commands.add_parser("keys", help="encryption and signing keys")
    kinds = key_commands.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    kinds.add_parser("new", help="print a fresh value for each key setting")
    status = kinds.add_parser("status", help="say how many rows each encryption key seals")
    audit_commands = commands.add_parser("audit", help="the audit log")
    kinds = audit_commands.add_subparsers(dest="audit_command", required=True, metavar="COMMAND")
    verify = kinds.add_parser("verify", help="check that no row was changed or taken out")
    told = commands.add_parser("webhook-token", help="print the token of Notion's handshake")
    for command in (run, migrate, check, status, verify, told):
        command.add_argument(
            "--config", type=Path, metavar="FILE.toml", help="settings; the environment wins"
        )
    sandbox_parser = commands.add_parser("sandbox", help="run the stand-in for Notion")
    if sandbox is not None:
        sandbox.add_arguments(sandbox_parser)
    commands.add_parser("version", help="print the version")
    return parser


def _settings_help() -> str:
    lines = ["settings (environment; the same in lower case without BROKER_ in the file):"]
    for setting in SETTINGS:
        default = "required" if setting.required else f"default: {setting.default or 'none'}"
        lines.append(f"  {setting.name}\n      {setting.help} ({default})")
    return "\n".join([*lines, "", _EXIT_CODES])
