"""Implements ``cloud-broker webhook-token``: print the token for Notion's portal."""

from __future__ import annotations

import argparse
import asyncio

from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.cli.database import existing_database
from cloud_broker.clock import SystemClock
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import NotFound
from cloud_broker.push.inbox import Inbox
from cloud_broker.push.notifier import LocalNotifier
from cloud_broker.settings.config import Settings
from cloud_broker.settings.parsers import raw_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_config(parser)
    parser.epilog = "example:\n  cloud-broker webhook-token --config broker.toml"


def run(args: argparse.Namespace) -> int:
    """Print the token."""
    print(asyncio.run(webhook_token(settings_of(args))))
    return 0


async def webhook_token(settings: Settings) -> str:
    """Return the token of the handshake. Raises NotFound before Notion has sent one."""
    ring = KeyRing(raw_keys(settings.encryption_keys))
    async with existing_database(settings) as database:
        inbox = Inbox(
            database,
            ring,
            LocalNotifier(),
            SystemClock(),
            token=settings.webhook_token,
            is_pending=False,
        )
        token = await inbox.token()
    if token is None:
        raise NotFound(
            "Notion has sent no handshake yet.",
            hint="Set BROKER_WEBHOOK_PENDING=1, restart, and subscribe in Notion's portal.",
        )
    return token.reveal()
