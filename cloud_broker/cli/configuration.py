"""Adds ``--config`` to a command and reads its settings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cloud_broker.settings.config import Settings, read_file, service_variables


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE.toml",
        help="settings file; environment variables override it",
    )


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings of this command. Raises ConfigurationInvalid."""
    ignored = service_variables(args.environment)
    if ignored:
        print(
            f"cloud-broker: ignored Kubernetes' service variables: {', '.join(ignored)}",
            file=sys.stderr,
        )
    file = read_file(args.config) if args.config else None
    return Settings.from_env(args.environment, file=file)
