"""How a verb is declared: its name, what it does, examples, and the options all share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from clipperd.cli.console import Console

Run = Callable[[argparse.Namespace, Console], int]


class Verbs:
    """A group of verbs under one parser; sub-verbs are such a group again."""

    def __init__(self, subparsers: Any, path: str) -> None:
        """``path`` is what is typed before the verb, for the examples."""
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
        """Declare ``name``; return its parser for the arguments of its own."""
        parser = self._parser(name, summary, examples)
        if prints_data:
            parser.add_argument("--json", action="store_true", help="print JSON for programs")
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, run: Run, summary: str, examples: Sequence[str]) -> Verbs:
        """Declare a verb with sub-verbs; ``run`` answers when none is given."""
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
    """``--home`` is taken before and after the verb."""
    parser.add_argument(
        "--home",
        metavar="DIR",
        default=default,
        help="keep everything under this folder (also CLIPPERD_HOME)",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The settings that are worth a flag; every one has a CLIPPERD_… variable."""
    parser.add_argument("--port", metavar="N", help="loopback port of the API")
    parser.add_argument("--broker-url", metavar="URL", help="the broker's address")
    parser.add_argument("--secrets", metavar="WHERE", help="keyring, memory or file")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
