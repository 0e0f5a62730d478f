"""``python -m tests.chaos``: seeded runs that break everything; exits 1 if a clip suffered.

Without arguments it plays some simulated days and some runs of real processes.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import database, kills, power
from tests.chaos.real import SETTINGS, Result, one_run
from tests.chaos.sim import many
from tests.chaos.sim.play import Outcome
from tests.chaos.verdict import Count


@dataclass
class Summary:
    """One kind of days. ``unknown``: writes of unknown outcome; ``asked``: left to a person."""

    kind: str
    runs: int = 0
    clips: int = 0
    unknown: int = 0
    asked: int = 0
    failed: int = 0
    count: Count = field(default_factory=Count)

    def __str__(self) -> str:
        count, scale = self.count, 10_000 / max(1, self.clips)
        figures = (count.lost, count.doubled, count.misplaced, count.out_of_order)
        share = self.asked / max(1, self.unknown)
        return (
            f"{self.kind:<15} {self.runs:>5} runs {self.clips:>7} clips, per 10,000: "
            + " / ".join(f"{figure * scale:g}" for figure in figures)
            + f"; {self.unknown} unknown outcomes, {self.asked} ({share:.2%}) left to a person"
        )


def main() -> int:
    """Play what is asked for and tell what came of it."""
    options = _parser().parse_args()
    # A plain kill must end the programs too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    match options.what:
        case "sim":
            return _sum_up(simulated(options))
        case "real":
            return _sum_up(real(options))
        case "power":
            return powered(options)
        case "kills":
            return killed(options)
        case "database":
            return failed_over(options)
        case _:
            seed = ["--seed", str(options.seed)]
            first = simulated(_parser().parse_args(["sim", "--runs", "100", *seed]))
            second = real(_parser().parse_args(["real", "--runs", "3", *seed]))
            wrong = failed_over(_parser().parse_args(["database", *seed]))
            return _sum_up(first, second) or wrong


def _sum_up(*parts: Summary) -> int:
    _say("\nlost / doubled / misplaced / out of order")
    for part in parts:
        _say(str(part))
    return 1 if any(part.failed for part in parts) else 0


def simulated(options: argparse.Namespace) -> Summary:
    """Whole days in one process on a clock of its own; a seed replays to the letter."""
    total, met = Summary("simulated"), many.Met()
    begun = time.monotonic()
    show = _say if options.trace else None
    for outcome in many.runs(options.seed, options.runs, options.clips, options.jobs, show):
        total.runs += 1
        total.clips += outcome.clips
        total.unknown += outcome.unknown
        total.asked += outcome.asked
        total.failed += outcome.wrong
        total.count.add(outcome.count)
        met.add(outcome)
        if outcome.wrong or options.trace:
            _tell_outcome(outcome, options.clips)
        if total.runs % 100 == 0:
            _say(f"  {total.runs} days, {time.monotonic() - begun:.0f} s, {total.failed} failed")
    for line in met.lines():
        _say(line)
    return total


def real(options: argparse.Namespace) -> Summary:
    """Runs on real processes until ``--runs`` or ``--minutes`` are over, whichever comes first."""
    end = None if options.minutes is None else time.monotonic() + options.minutes * 60
    settings = SETTINGS | dict(each.partition("=")[::2] for each in options.set)
    total = Summary("real processes")
    for seed in range(options.seed, options.seed + options.runs):
        if end is not None and time.monotonic() > end:
            break
        folder = Path(tempfile.mkdtemp(prefix=f"clipperd-chaos-{seed}-", dir=options.folder))
        result = one_run(folder, seed, options.clips, settings, _say)
        _tell(result, folder)
        total.runs += 1
        total.clips += result.clips
        total.unknown += result.ambiguous
        total.asked += result.count.needs_attention
        total.failed += result.count.wrong
        total.count.add(result.count)
    return total


def powered(options: argparse.Namespace) -> int:
    """Real power cuts under a real daemon, on ext4 in a loop mount; needs root."""
    why = power.obstacle()
    if why is not None:
        _say(f"power cannot be cut: {why}")
        return 2
    gone = power.unsynced_rows_lost()
    _say(f"counter-proof: {gone} of 20 rows lost that were committed with synchronous=NORMAL")
    found = power.cuts(options.cuts, options.seed, _say)
    _say(f"power cuts: {found}")
    for item in (*found.lost, *found.holes, *found.damaged):
        _say(f"  {item}")
    return 1 if found.wrong or not gone else 0


def killed(options: argparse.Namespace) -> int:
    """kill -9 of a real daemon that accepts and delivers, again and again."""
    found = kills.kills(options.kills, options.seed, _say)
    _say(f"kill -9: {found}")
    for item in (*found.files.lost, *found.files.holes, *found.files.damaged):
        _say(f"  {item}")
    for item in (*found.missing, *found.doubled, *found.overtaken):
        _say(f"  {item}")
    return 1 if found.wrong else 0


def failed_over(options: argparse.Namespace) -> int:
    """PostgreSQL that ends connections, fails over to read-only and is gone, under writes."""
    found = asyncio.run(database.failovers(options.rounds, options.seed, _say))
    _say(f"database: {found}")
    for item in found.wrong:
        _say(f"  {item}")
    return 1 if found.wrong else 0


def _parser() -> argparse.ArgumentParser:
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
    cut = words.add_parser("power", help=powered.__doc__)
    cut.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    cut.add_argument("--cuts", type=int, default=200, help="how many (%(default)s)")
    kill = words.add_parser("kills", help=killed.__doc__)
    kill.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    kill.add_argument("--kills", type=int, default=500, help="how many (%(default)s)")
    base = words.add_parser("database", help=failed_over.__doc__)
    base.add_argument("--seed", type=int, default=1, help="of the order (%(default)s)")
    base.add_argument("--rounds", type=int, default=3, help="of each trouble (%(default)s)")
    return parser


def _tell_outcome(outcome: Outcome, clips: int) -> None:
    _say(f"seed {outcome.seed}: {outcome.count}; trace {outcome.digest}")
    for note in (*outcome.count.notes, *outcome.errors):
        _say(f"  {note}")
    again = f"sim --runs 1 --clips {clips} --seed {outcome.seed} --trace"
    _say(f'  again: make chaos ARGS="{again}"')


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
