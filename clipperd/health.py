"""What ``GET /v1/health`` looks at."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from clipperd.broker.connectivity import Connectivity
from clipperd.clips.clips import Clips
from clipperd.clock import Clock, rfc3339
from clipperd.keychain.secrets import Secrets
from clipperd.storage.database import Database, Store
from clipperd.storage.recovery import TOLD_S, latest_report

Severity = Literal["ok", "info", "warning", "error"]

_LOW_DISK = 200 << 20  # bytes; below this a big clip may not fit


class Finding(msgspec.Struct, frozen=True):
    """What one check saw. ``depends_on`` names checks whose failure would explain this one."""

    severity: Severity
    detail: str
    remedy: str | None = None
    depends_on: tuple[str, ...] = ()


Check = Callable[[], Awaitable[Finding]]


def checks(
    *,
    data_dir: Path,
    quarantine: Path,
    clock: Clock,
    outbox: Database,
    cache: Store,
    secrets: Secrets,
    connectivity: Connectivity,
    clips: Clips,
) -> Mapping[str, Check]:
    """The checks by their stable ids."""

    async def disk() -> Finding:
        free = shutil.disk_usage(data_dir).free
        if free < _LOW_DISK:
            return Finding("warning", f"Only {free >> 20} MiB are free.", "Free some space.")
        return Finding("ok", f"{free >> 20} MiB are free.")

    async def queue_store() -> Finding:
        return await _sound(outbox, "The queue", "Stop clipperd and keep a copy of outbox.db.")

    async def queue_rescue() -> Finding:
        return _rescued(quarantine, clock.now())

    async def cache_store() -> Finding:
        return await _sound(cache, "The cache", "Stop clipperd and delete cache.db; it is rebuilt.")

    async def secret_store() -> Finding:
        return _kept(secrets)

    async def link() -> Finding:
        return _reached(connectivity)

    async def queue() -> Finding:
        status = await clips.status()
        parked = int(status["needs_attention"])
        if parked:
            return Finding(
                "warning", f"{parked} deliveries wait for a decision.", "Run clipperd queue list."
            )
        if status["paused"]:
            return Finding("info", "The queue is paused.", "Run clipperd queue resume.")
        overdue = await clips.overdue()
        if overdue:
            detail = f"{overdue} deliveries have waited for more than a week."
            return Finding("warning", detail, "Run clipperd queue list.", depends_on=("link",))
        return Finding("ok", "The queue moves.", depends_on=("link",))

    return {
        "disk": disk,
        "queue_store": queue_store,
        "queue_rescue": queue_rescue,
        "cache_store": cache_store,
        "secrets": secret_store,
        "link": link,
        "queue": queue,
    }


def _kept(secrets: Secrets) -> Finding:
    if secrets.mode == "memory":
        why = secrets.why or "The session ends with the program."
        return Finding("warning", why, "Unlock or install a keyring, then sign in again.")
    return Finding("ok", f"The session is kept in: {secrets.mode}.")


def _reached(connectivity: Connectivity) -> Finding:
    state = connectivity.link
    if state.state == "online":
        return Finding("ok", "The service can be reached.")
    if state.state in ("signed_out", "reauth_required"):
        return Finding("warning", "Nobody is signed in.", "Run clipperd login.")
    return Finding("warning", f"The service is {state.state}: {state.why or 'no answer'}.")


def _rescued(quarantine: Path, now: float) -> Finding:
    """Told for a month, as long as the damaged file is kept."""
    report = latest_report(quarantine)
    if report is None or now - report.at > TOLD_S:
        return Finding("ok", "The queue's file was not damaged lately.")
    came = "an older copy" if report.from_copy else "what could be read of it"
    detail = (
        f"The queue's file was damaged ({rfc3339(report.at)}); {came} was saved,"
        f" {report.rows.get('clip', 0)} clips."
    )
    open_ = report.undecided + report.without_content + report.without_place
    if open_:
        detail += f" {open_} of them need you."
    if report.leftover:
        detail += f" {report.leftover} texts without a clip are in leftover.json."
    folder = quarantine / report.quarantine
    remedy = f"Look at clipperd queue list; the damaged file is kept in {folder}."
    return Finding("warning", detail, remedy)


async def _sound(database: Store, name: str, remedy: str) -> Finding:
    def look(connection: sqlite3.Connection) -> str:
        return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])

    try:
        found = await database.read(look)
    except sqlite3.DatabaseError as error:
        return Finding("error", f"{name} cannot be read: {type(error).__name__}.", remedy)
    if found != "ok":
        return Finding("error", f"{name} is damaged.", remedy)
    return Finding("ok", f"{name} is sound.")
