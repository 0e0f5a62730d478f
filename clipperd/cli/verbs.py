"""Declares verbs: name, summary, examples and the common options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from clipperd.cli.console import Console

Run = Callable[[argparse.Namespace, Console], int]


class Verbs:
    """The verbs of one parser; a verb with sub-verbs has a group of its own."""

    def __init__(self, subparsers: Any, path: str) -> None:
        """``path``: the words before the verb, for the usage line."""
        self._subparsers = subparsers
        self._path = path

    def add(
        self,
        name: str,
        run: Run,
        summary: str,
        examples: Sequence[str],
        *,
        prints_data: bool = False,
    ) -> argparse.ArgumentParser:
        """Declare ``name``; return its parser, to which the caller adds arguments."""
        parser = self._parser(name, summary, examples)
        if prints_data:
            parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, run: Run, summary: str, examples: Sequence[str]) -> Verbs:
        """Declare a verb with sub-verbs; ``run`` runs when none is given."""
        parser = self.add(name, run, summary, examples, prints_data=True)
        inner = parser.add_subparsers(title="verbs", metavar="VERB", required=False)
        return Verbs(inner, f"{self._path} {name}")

    def _parser(self, name: str, summary: str, examples: Sequence[str]) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self._subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_home(parser, default=argparse.SUPPRESS)
        return parser


def add_home(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Add ``--home``, which is accepted before and after the verb."""
    parser.add_argument(
        "--home",
        metavar="DIR",
        default=default,
        help="keep all files in this folder (also CLIPPERD_HOME)",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings that have a flag; every setting has a CLIPPERD_… variable."""
    parser.add_argument("--port", metavar="N", help="port of the local API")
    parser.add_argument("--broker-url", metavar="URL", help="address of the broker")
    parser.add_argument(
        "--secrets", metavar="WHERE", help="where to keep the session: keyring, memory or file"
    )
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
