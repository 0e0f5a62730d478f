"""``--config``, and the settings that a command then works with."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud_broker.settings.config import Settings, read_file


def add_config(parser: argparse.ArgumentParser) -> None:
    """Let the command take a settings file."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="settings; the environment wins"
    )


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of this call. Raises ConfigurationInvalid."""
    file = read_file(args.config) if args.config else None
    return Settings.from_env(args.environment, file=file)
