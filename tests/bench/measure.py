"""Shared measures: quantiles, ratios, and one sync of this disk in the same run."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return quantile(values, 0.5)


def spread(values: Sequence[float], unit: float, name: str) -> str:
    """``p50 1.2, p99 3.4`` as multiples of ``unit``, named ``name``."""
    return (
        f"p50 {quantile(values, 0.5) / unit:.1f}, p99 {quantile(values, 0.99) / unit:.1f} x {name}"
    )


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def syncs(folder: Path, size: int, count: int = 60) -> list[float]:
    """Seconds of ``count`` appends of ``size`` bytes, each followed by fdatasync."""
    data = os.urandom(size)
    path = folder / "sync.bin"
    found = []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            begun = time.perf_counter()
            file.write(data)
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - begun)
    path.unlink()
    return found


@dataclass(frozen=True)
class Spent:
    """What a child process took, in seconds."""

    wall: float
    cpu: float


def spent(argv: Sequence[str], env: Mapping[str, str]) -> Spent:
    """Run a command to its end, its output thrown away; any exit code."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        argv, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0  # reaped here, for its usage
    return Spent(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far (proc(5): utime and stime, in clock ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """How busy the machine is: load per core."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
