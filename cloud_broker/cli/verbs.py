"""Adds verbs below a command, such as ``keys rewrap``, with help and an example."""

from __future__ import annotations

import argparse

EXIT_CODES = "exit codes: 0 ok, 1 failed, 2 usage, 4 configuration, 5 database, 6 port, 7 secrets"


def add_verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    help: str,  # noqa: A002 (argparse's word)
    example: str,
    description: str | None = None,
) -> argparse.ArgumentParser:
    """Add a verb; ``example`` is a command line without ``cloud-broker``."""
    return verbs.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog=f"example:\n  cloud-broker {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
