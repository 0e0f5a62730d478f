"""Implements ``cloud-broker version``."""

from __future__ import annotations

import argparse
from importlib.metadata import version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no options."""
    parser.epilog = "example:\n  cloud-broker version"


def run(_: argparse.Namespace) -> int:
    """Print the version."""
    print(f"cloud-broker {version('clipperd')}")
    return 0
