"""Runs the command line in this process, against a home in a temporary folder."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clipperd.cli.console import Console
from clipperd.cli.main import main


@dataclass(frozen=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str
    opened: tuple[str, ...]


async def clipperd(
    home: Path,
    *argv: str,
    stdin: bytes | None = None,
    typed: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run ``clipperd --home HOME argv…`` in a thread.

    Without ``stdin`` it is a terminal, at which ``typed`` is entered.
    """
    return await asyncio.to_thread(run, home, *argv, stdin=stdin, typed=typed, env=env)


def run(
    home: Path,
    *argv: str,
    stdin: bytes | None = None,
    typed: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Result:
    """The same, in this thread."""
    out, err = io.StringIO(), io.StringIO()
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    console = Console(
        out=out,
        err=err,
        stdin=io.BytesIO(typed if stdin is None else stdin),
        stdin_is_terminal=stdin is None,
        env=env or {},
        browse=browse,
    )
    code = main(["--home", str(home), *argv], console)
    return Result(code, out.getvalue(), err.getvalue(), tuple(opened))
