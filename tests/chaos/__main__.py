"""``python -m tests.chaos``: seeded runs that break everything; exits 1 if a clip suffered.

Without a word some of both kinds of runs: real processes, and the simulation.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.real import SETTINGS, Result, one_run
from tests.chaos.sim import many
from tests.chaos.sim.play import Outcome
from tests.chaos.verdict import Count


def main() -> int:
    """Play what is asked for and tell what came of it."""
    options = _options()
    # A plain kill must end the programs too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    match options.what:
        case "sim":
            return simulated(options)
        case "real":
            return real(options)
        case _:
            options.runs, options.clips, options.jobs, options.trace = 100, 100, 1, False
            failed = simulated(options)
            options.runs, options.clips, options.minutes, options.folder, options.set = (
                3,
                200,
                None,
                None,
                [],
            )
            return failed | real(options)


def simulated(options: argparse.Namespace) -> int:
    """Runs in one process on a clock of its own; a seed replays to the letter."""
    total = many.Sum()
    begun = time.monotonic()
    show = _say if options.trace else None
    for outcome in many.runs(options.seed, options.runs, options.clips, options.jobs, show):
        total.add(outcome)
        if outcome.wrong or options.trace:
            _tell_outcome(outcome, options.clips)
        if total.runs % 100 == 0:
            _say(f"  {total.runs} runs, {time.monotonic() - begun:.0f} s")
    for line in total.lines():
        _say(line)
    return 1 if total.failing else 0


def real(options: argparse.Namespace) -> int:
    """Runs on real processes until ``--runs`` or ``--minutes`` are over, whichever comes first."""
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
    _say(f"\nreal processes: {runs} runs from seed {options.seed}, {clips} clips: {total}")
    _say(f"{ambiguous} faults and kills of unknown outcome, {share:.1%} of them left to a person")
    return 1 if total.wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run (%(default)s)")
    words = parser.add_subparsers(dest="what")
    sim = words.add_parser("sim", help=simulated.__doc__)
    sim.add_argument("--seed", type=int, default=1, help="of the first run (%(default)s)")
    sim.add_argument("--runs", type=int, default=2000, help="how many (%(default)s)")
    sim.add_argument("--clips", type=int, default=100, help="per run (%(default)s)")
    sim.add_argument("--jobs", type=int, default=1, help="processes (%(default)s)")
    sim.add_argument("--trace", action="store_true", help="print everything that happens")
    play = words.add_parser("real", help=real.__doc__)
    play.add_argument("--seed", type=int, default=1, help="of the first run (%(default)s)")
    play.add_argument("--runs", type=int, default=5, help="how many (%(default)s)")
    play.add_argument("--clips", type=int, default=200, help="per run (%(default)s)")
    play.add_argument("--minutes", type=float, help="start no run after so many")
    play.add_argument("--folder", type=Path, help="where the runs keep their files and logs")
    play.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of daemon or broker, for instance BROKER_LIMIT_SCALE=1",
    )
    return parser.parse_args()


def _tell_outcome(outcome: Outcome, clips: int) -> None:
    _say(f"seed {outcome.seed}: {outcome.count}; trace {outcome.digest}")
    for note in (*outcome.count.notes, *outcome.errors):
        _say(f"  {note}")
    _say(
        f"  again: python -m tests.chaos sim --runs 1 --clips {clips} --seed {outcome.seed} --trace"
    )


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
