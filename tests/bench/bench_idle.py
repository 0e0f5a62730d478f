"""Measures an idle daemon, signed in and with its event stream up, beside Maestral.

``BENCH_PAGES`` sets the number of pages in its index, ``BENCH_SECRETS`` the stores of secrets,
separated by commas.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.model import Scope
from clipperd.settings.locations import locate
from clipperd.storage.disposable import open_cache
from tests.bench import filled_stores
from tests.bench.measure import cpu_of, machine, median
from tests.bench.rivals.installed import Missing
from tests.bench.rivals.maestral import Maestral
from tests.stack.stack import Stack, running

_PAGES = int(os.environ.get("BENCH_PAGES", "100000"))
_SECRETS = os.environ.get("BENCH_SECRETS", "memory,keyring,file").split(",")
_WATCHED_S = 60.0
_CALM_S = 3.0
_SETTLED_S = 60.0


def run() -> list[str]:
    """Lines for ``make bench``: megabytes, and voluntary context switches per second."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        floor = _floor(where)
        lines = [
            f"idle: stream up, {_PAGES:,} pages known, searched, listed and outlined once,"
            f" {_WATCHED_S:.0f} s, {machine()}"
        ]
        for secrets in _SECRETS:
            settings = {"CLIPPERD_SECRETS": secrets, "BROKER_WEBHOOK_PENDING": "1"}
            with running(where / secrets, **settings) as stack:
                lines += [f"idle: secrets in {secrets}: {line}" for line in _watch(stack, floor)]
        lines += [f"idle: maestral, not linked: {line}" for line in _maestral(where, floor)]
    return lines


def _watch(stack: Stack, floor: float) -> list[str]:
    stack.subscribe()
    _know_pages(stack)
    stack.until_told()
    page = stack.notion.page("Read once", "Top\n# Inbox\nfirst")
    stack.client.outline(page.id, "auto")
    _ask(stack, 1)
    daemon = stack.client.hello().pid
    lines = _watched(daemon, floor)
    _ask(stack, 300)
    return [*lines, f"{_resident(daemon):.1f} MB after 600 lists and searches"]


def _maestral(folder: Path, floor: float) -> list[str]:
    try:
        maestral = Maestral(folder)
    except Missing as error:
        return [f"missing: {error}"]
    with maestral.running(filled_stores.environment(folder)) as child:
        return _watched(child.pid, floor)


def _watched(pid: int, floor: float) -> list[str]:
    _calm(pid)
    before, cpu = _switches(pid), cpu_of(pid)
    time.sleep(_WATCHED_S)
    woken = (_switches(pid) - before) / _WATCHED_S
    busy, idle = cpu_of(pid) - cpu, _resident(pid)
    return [
        f"{idle:.1f} MB resident, {idle / floor:.2f} x a bare aiohttp server ({floor:.1f} MB)",
        f"{woken:.2f} wake-ups a second, {busy:.2f} s of CPU in {_WATCHED_S:.0f} s",
    ]


def _floor(folder: Path) -> float:
    """Megabytes of an aiohttp server with one route."""
    program = (
        "import asyncio, sqlite3, sys\nfrom aiohttp import web\n"
        "async def main():\n"
        "    runner = web.AppRunner(web.Application()); await runner.setup()\n"
        "    await web.TCPSite(runner, '127.0.0.1', 0).start(); print('up', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    found = []
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            env=filled_stores.environment(folder),
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        found.append(_resident(child.pid))
        child.kill()
        child.communicate()
    return median(found)


def _know_pages(stack: Stack) -> None:
    """Fill the page index under the daemon's feet, and start it again on that."""
    session = stack.client.session()
    home = next(one for one in session["workspaces"] if one["current"])
    scope = Scope(session["user"]["id"], home["id"])
    stack.close_daemon()
    # As installed, with its modules compiled: compiling at the start leaves two megabytes behind.
    kept = str(stack.folder / "compiled")
    stack.daemon.change(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=kept)
    stack.open_daemon()
    stack.close_daemon()

    async def fill() -> None:
        cache = open_cache(locate(stack.home).cache, CACHE_STEPS)
        await cache.write(lambda c: filled_stores.fill_pages(c, scope, _PAGES))
        cache.close()

    asyncio.run(fill())
    stack.open_daemon()
    stack.sign_in()  # the memory of the daemon before is gone


def _calm(pid: int) -> None:
    """Wait until the start's own work is over."""
    end = time.monotonic() + _SETTLED_S
    while time.monotonic() < end:
        before = cpu_of(pid)
        time.sleep(_CALM_S)
        if cpu_of(pid) == before:
            return


def _ask(stack: Stack, times: int) -> None:
    for number in range(times):
        stack.client.pages(view="recent", limit=50)
        stack.client.pages(q=f"meeting {number}", limit=20)


def _switches(pid: int) -> int:
    """Voluntary context switches of all threads so far (proc(5))."""
    lines = [
        line
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text("utf-8").splitlines()
        if line.startswith("voluntary_ctxt_switches")
    ]
    return sum(int(line.split()[1]) for line in lines)


def _resident(pid: int) -> float:
    """Megabytes in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")
