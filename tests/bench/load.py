"""Sends GETs over kept connections: with wrk if it is installed, else with a small child process.

The load runs in its own process, so that its cost does not count as the server's.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.bench.measure import quantile

_PATIENCE_S = 30.0
_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'REPORT{"requests":%d,"seconds":%f,"p50_s":%f,"p99_s":%f,"failed":%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6,
    latency:percentile(99) / 1e6, e.status + e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What came back in ``seconds``; the quantiles are of the time from request to answer."""

    requests: int
    seconds: float
    p50_s: float
    p99_s: float


def generator() -> str:
    """Which one is used here."""
    return "wrk" if shutil.which("wrk") else "a small client of Python's (there is no wrk)"


def load(url: str, headers: Mapping[str, str], connections: int, seconds: float) -> Load:
    """Ask for ``url`` again and again. Every answer must be a 200, else AssertionError."""
    wrk = shutil.which("wrk")
    if wrk is None:
        argv = [sys.executable, "-m", "tests.bench.load", json.dumps(dict(headers))]
        out = _output([*argv, url, str(connections), str(seconds)])
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(_REPORT)
            script.flush()
            argv = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
            for name, value in headers.items():
                argv += ["-H", f"{name}: {value}"]
            out = _output([*argv, "-s", script.name, url])
    found = json.loads(out.partition("REPORT")[2])
    assert not found.pop("failed"), f"not every answer was a 200:\n{out}"
    assert found["requests"], f"nothing was answered:\n{out}"
    return Load(**found)


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


async def _measure(headers: Mapping[str, str], url: str, connections: int, seconds: float) -> str:
    place = urlsplit(url)
    lines = [f"GET {place.path} HTTP/1.1", f"Host: {place.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    times: list[float] = []
    failed = 0
    begun = time.perf_counter()

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < begun + seconds:
            sent = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, rest = head.lower().partition(b"content-length:")
            await reader.readexactly(int(rest.partition(b"\r\n")[0]))
            times.append(time.perf_counter() - sent)
            failed += not head.startswith(b"HTTP/1.1 200 ")
        writer.close()

    async with asyncio.timeout(seconds + _PATIENCE_S):
        await asyncio.gather(*(client() for _ in range(connections)))
    report = {
        "requests": len(times),
        "seconds": time.perf_counter() - begun,
        "p50_s": quantile(times, 0.5),
        "p99_s": quantile(times, 0.99),
        "failed": failed,
    }
    return "REPORT" + json.dumps(report)


if __name__ == "__main__":
    _headers, _url, _connections, _seconds = sys.argv[1:]
    _report = asyncio.run(_measure(json.loads(_headers), _url, int(_connections), float(_seconds)))
    sys.stdout.write(_report)
