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
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run ``clipperd --home HOME argv…`` in a thread; without ``stdin`` it is a terminal."""
    return await asyncio.to_thread(run, home, *argv, stdin=stdin, env=env)


def run(
    home: Path, *argv: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None
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
        stdin=io.BytesIO(stdin or b""),
        stdin_is_terminal=stdin is None,
        env=env or {},
        browse=browse,
    )
    code = main(["--home", str(home), *argv], console)
    return Result(code, out.getvalue(), err.getvalue(), tuple(opened))
