"""Implements ``cloud-broker check-config``: report every invalid setting, start nothing."""

from __future__ import annotations

import argparse

from cloud_broker.cli.configuration import add_config, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_config(parser)
    parser.epilog = "example:\n  cloud-broker check-config --config broker.toml"


def run(args: argparse.Namespace) -> int:
    """Read the settings and print the result."""
    settings_of(args)
    print("The configuration is valid.")
    return 0
