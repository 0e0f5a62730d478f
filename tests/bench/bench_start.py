"""Measures the time of a command and of a daemon's start, beside the interpreter and others.

The others are aiohttp and Maestral. ``BENCH_PAGES`` sets the number of pages in the index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clipperd.cli.demo.web import fetch
from tests.bench import filled_stores
from tests.bench.measure import Spent, cpu_of, machine, median, spent
from tests.bench.rivals.installed import Missing
from tests.bench.rivals.maestral import Maestral

_ROUNDS = 9
_PAGES = int(os.environ.get("BENCH_PAGES", "100000"))
_LOOK_S = 0.002


@dataclass
class _Case:
    """Every run of one thing, in seconds."""

    runs: list[Spent] = field(default_factory=list)

    def wall(self) -> float:
        return median([run.wall for run in self.runs])

    def cpu(self) -> float:
        return median([run.cpu for run in self.runs])


def run() -> list[str]:
    """Lines for ``make bench``: multiples of ``import aiohttp``, the floor of any such daemon."""
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> list[str]:
    home = folder / "home"
    filled_stores.furnish_home(home, _PAGES)
    env = filled_stores.environment(folder, CLIPPERD_HOME=str(home), CLIPPERD_SECRETS="memory")
    env["CLIPPERD_BROKER_URL"] = "http://127.0.0.1:9"  # nobody listens there
    clipperd = ["-m", "clipperd"]
    commands = {
        "python -c pass": ["-c", "pass"],
        "import aiohttp": ["-c", "import aiohttp.web"],
        "clipperd --help": [*clipperd, "--help"],
        "clipperd version": [*clipperd, "version"],
        "clipperd status (none runs)": [*clipperd, "status"],
    }
    cases: dict[str, Callable[[], dict[str, Spent]]] = {
        name: (lambda name=name, argv=argv: {name: spent([sys.executable, *argv], env)})  # type: ignore[misc]
        for name, argv in commands.items()
    }
    cases["daemon"] = lambda: _first_answers(env, home)
    missing = []
    try:
        maestral = Maestral(folder)
        cases["maestral"] = lambda: {
            "import maestral's daemon": maestral.imported(env),
            "maestral, not linked, to its socket": maestral.first_answer(env),
        }
    except Missing as error:
        missing.append(f"start: maestral is missing: {error}")
    found: dict[str, _Case] = {}
    for number in range(_ROUNDS + 1):
        for case in cases.values():
            for name, one in case().items():
                if number:  # the first round compiles the modules
                    found.setdefault(name, _Case()).runs.append(one)
    floor = found["import aiohttp"]
    lines = [f"start: {_ROUNDS} rounds, {machine()}"]
    lines += [
        f"start: {name}: {case.wall() * 1000:.0f} ms, {case.wall() / floor.wall():.2f} x import"
        f" aiohttp; CPU {case.cpu() * 1000:.0f} ms, {case.cpu() / floor.cpu():.2f} x"
        for name, case in found.items()
    ]
    return lines + missing


def _first_answers(env: Mapping[str, str], home: Path) -> dict[str, Spent]:
    """From the start of the process to its first two answers, and to the end of it."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "clipperd", "run"],
        env=dict(env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        mine = filled_stores.published(home, child, _LOOK_S)
        assert fetch("GET", mine.url + "/healthz")[0] == 200
        healthy = Spent(time.perf_counter() - begun, cpu_of(child.pid))
        asked = {"Authorization": f"Bearer {mine.token}"}
        status, _, body = fetch("GET", mine.url + "/v1/pages?limit=20", headers=asked)
        assert status == 200, body
        listed = Spent(time.perf_counter() - begun, cpu_of(child.pid))
    finally:
        child.terminate()
        child.wait()
    return {"daemon to /healthz": healthy, f"daemon to {_PAGES:,} pages' list": listed}
