"""``python -m tests.chaos``: many seeded runs; exits 1 if any clip was lost, doubled or moved."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import SETTINGS, Result, one_run
from tests.chaos.verdict import Count


def main() -> int:
    """Play runs until ``--runs`` or ``--minutes`` are over, whichever comes first."""
    options = _options()
    # A plain kill must end the three programs too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end = None if options.minutes is None else time.monotonic() + options.minutes * 60
    settings = SETTINGS | dict(each.partition("=")[::2] for each in options.set)
    total, runs, ambiguous, clips = Count(), 0, 0, 0
    for seed in range(options.seed, options.seed + options.runs):
        if end is not None and time.monotonic() > end:
            break
        folder = Path(tempfile.mkdtemp(prefix=f"clipperd-chaos-{seed}-", dir=options.folder))
        result = one_run(folder, seed, options.clips, settings, _say)
        _tell(result, folder)
        total.add(result.count)
        runs, clips, ambiguous = runs + 1, clips + result.clips, ambiguous + result.ambiguous
    share = total.needs_attention / ambiguous if ambiguous else 0.0
    _say(f"\n{runs} runs from seed {options.seed}, {clips} clips: {total}")
    _say(f"{ambiguous} faults and kills of unknown outcome, {share:.1%} of them left to a person")
    return 1 if total.wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how many (%(default)s)")
    parser.add_argument("--clips", type=int, default=200, help="per run (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first run (%(default)s)")
    parser.add_argument("--minutes", type=float, help="start no run after so many")
    parser.add_argument("--folder", type=Path, help="where the runs keep their files and logs")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of daemon or broker, for instance BROKER_LIMIT_SCALE=1",
    )
    return parser.parse_args()


def _tell(result: Result, folder: Path) -> None:
    _say(str(result))
    if result.count.wrong or result.count.needs_attention:
        for note in result.count.notes:
            _say(f"  {note}")
        _say(f"  {result.states}; its files are in {folder}")
    else:
        shutil.rmtree(folder)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
