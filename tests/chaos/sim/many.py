"""Many runs of the simulation, in one process or in several."""

from __future__ import annotations

import gc
import multiprocessing
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.sim.daemon import Template
from tests.chaos.sim.play import Outcome, one_run

Say = Callable[[str], None]


@dataclass
class Met:
    """What all days together met."""

    struck: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Take one day in."""
        self.struck += outcome.struck
        self.faults += outcome.faults

    def lines(self) -> list[str]:
        """Hazards and faults, each with how often it struck."""
        return ["hazards: " + _listed(self.struck), "faults: " + _listed(self.faults)]


def runs(
    first: int, count: int, clips: int, jobs: int = 1, show: Say | None = None
) -> Iterator[Outcome]:
    """Play the seeds from ``first`` on, in ``jobs`` processes; ``show`` gets a trace (one job)."""
    seeds = range(first, first + count)
    gc.freeze()  # what is loaded is not looked through after each run
    with tempfile.TemporaryDirectory(prefix="clipperd-sim-", dir=_memory()) as name:
        home = Path(name)
        template = Template(home / "template")
        if jobs == 1:
            for seed in seeds:
                yield _play((seed, clips, home, template), show)
            return
        work = [(seed, clips, home, template) for seed in seeds]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, gc.freeze) as pool:
            yield from pool.map(_play, work, chunksize=4)


def _play(work: tuple[int, int, Path, Template], show: Say | None = None) -> Outcome:
    seed, clips, home, template = work
    folder = home / str(seed)
    try:
        return one_run(seed, clips, folder, template, show)
    finally:
        shutil.rmtree(folder)


def _memory() -> str | None:
    """A folder in memory where there is one: what a power cut leaves is not the question here."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} × {name}" for name, n in sorted(counts.items())) or "none"
