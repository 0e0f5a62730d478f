"""``python -m tests.security.fuzz --seed N --count N``: long runs; exit 1 for any fault."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.security.fuzz.fuzz_run import Report, a_scene

PART = 20_000  # requests between two sign-ins: an access token lives ten minutes


async def _run(seed: int, numbers: range) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        async with a_scene(Path(folder)) as scene:
            return await scene.run(seed, numbers)


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="send this one request of the seed")
    args = parser.parse_args()
    whole = range(args.count) if args.only is None else range(args.only, args.only + 1)
    failed = False
    for begin in range(0, len(whole), PART):
        report = asyncio.run(_run(args.seed, whole[begin : begin + PART]))
        print(report.told(), flush=True)
        failed = failed or bool(report.faults)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
