"""The health of the daemon: the checks of ``GET /v1/health`` and the report made of them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from clipperd.broker.connectivity import NOT_CONFIGURED, Connectivity
from clipperd.clips.clips import Clips
from clipperd.clock import Clock, rfc3339
from clipperd.errors import BrokerNotConfigured, ClipperdError
from clipperd.keychain.secrets import Secrets
from clipperd.storage.database import Database, Store
from clipperd.storage.recovery import REPORTED_S, latest_report

Severity = Literal["ok", "info", "warning", "error"]

_RANK: tuple[Severity, ...] = ("ok", "info", "warning", "error")
_LOW_DISK_BYTES = 200 << 20  # with less free, a large clip may not fit


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. ``depends_on``: checks whose failure would explain this one."""

    severity: Severity
    detail: str
    remedy: str | None = None
    depends_on: tuple[str, ...] = ()


Check = Callable[[], Awaitable[Finding]]


class CheckView(msgspec.Struct):
    """One check as the API shows it. ``because_of``: the failing checks that explain this one."""

    id: str
    severity: Severity
    detail: str
    remedy: str | None
    depends_on: list[str]
    because_of: list[str]
    since: str | None


class HealthView(msgspec.Struct):
    """All checks. ``severity`` is the worst one; ``ok``: none is a warning or an error."""

    ok: bool
    severity: Severity
    checks: list[CheckView]


class Health:
    """Runs the checks and remembers since when each has failed."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        """``checks`` by their public ids."""
        self._checks = dict(checks)
        self._since: dict[str, float] = {}
        self.prepare: Callable[[], Awaitable[None]] = _nothing

    async def report(self, now: float) -> HealthView:
        """Run every check; one that raises counts as an error. ``now``: epoch seconds."""
        await self.prepare()
        findings = {name: await _run(check) for name, check in self._checks.items()}
        failing = {name for name, finding in findings.items() if _rank(finding) > 1}
        for name, finding in findings.items():
            if finding.severity == "ok":
                self._since.pop(name, None)
            else:
                self._since.setdefault(name, now)
        worst = max((_rank(finding) for finding in findings.values()), default=0)
        return HealthView(
            ok=worst < _RANK.index("warning"),
            severity=_RANK[worst],
            checks=[self._view(name, finding, failing) for name, finding in findings.items()],
        )

    def _view(self, name: str, finding: Finding, failing: set[str]) -> CheckView:
        since = self._since.get(name)
        causes = [cause for cause in finding.depends_on if cause in failing]
        return CheckView(
            id=name,
            severity=finding.severity,
            detail=finding.detail,
            remedy=finding.remedy,
            depends_on=list(finding.depends_on),
            because_of=causes if name in failing else [],
            since=None if since is None else rfc3339(since),
        )


async def _nothing() -> None:
    """Prepare nothing."""


def _rank(finding: Finding) -> int:
    return _RANK.index(finding.severity)


async def _run(check: Check) -> Finding:
    try:
        return await check()
    except ClipperdError as error:
        return Finding("error", f"This check failed: {error.detail}", error.hint)
    except Exception as error:  # health must answer just when something is wrong
        return Finding("error", f"This check failed: {type(error).__name__}.")


async def check_disk(folder: Path) -> Finding:
    """Check the free space on the disk of ``folder``."""
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(
            "error",
            f"clipperd's folder {folder} is gone or cannot be read ({error.strerror}).",
            "Put it back under its name, or stop clipperd and start it again.",
        )
    free_mib = free_bytes >> 20
    if free_mib < _LOW_DISK_BYTES >> 20:
        return Finding("warning", f"Only {free_mib} MiB are free.", "Free some disk space.")
    return Finding("ok", f"{free_mib} MiB are free.")


async def check_queue_store(database: Database) -> Finding:
    """Check that outbox.db has its name, can be read and is consistent."""
    await database.verify()
    remedy = "Stop clipperd and keep a copy of outbox.db."
    found = await _check_database(database, "The queue's database", remedy)
    if found.severity == "ok" and database.put_back:
        return Finding(
            "warning",
            "Another program deleted or replaced outbox.db while clipperd ran. clipperd has put"
            f" the queue back ({database.put_back} times).",
            "Find that program (a cleaner, a sync tool, a restore) and exclude clipperd's folder.",
        )
    return found


async def check_cache_store(database: Store) -> Finding:
    """Check that cache.db can be read and is consistent."""
    remedy = "Stop clipperd and delete cache.db. clipperd rebuilds it."
    return await _check_database(database, "The cache", remedy)


async def _check_database(database: Store, name: str, remedy: str) -> Finding:
    def quick_check(connection: sqlite3.Connection) -> str:
        return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])

    try:
        found = await database.read(quick_check)
    except sqlite3.DatabaseError as error:
        return Finding("error", f"{name} cannot be read: {type(error).__name__}.", remedy)
    if found != "ok":
        return Finding("error", f"{name} is damaged.", remedy)
    return Finding("ok", f"{name} is intact.")


async def check_recovery(quarantine: Path, clock: Clock) -> Finding:
    """Report a recovery of outbox.db for as long as the damaged file is kept."""
    report = latest_report(quarantine)
    if report is None or clock.now() - report.at > REPORTED_S:
        return Finding("ok", "The queue's database was not damaged recently.")
    source = "from a backup" if report.from_copy else "from the damaged file"
    detail = (
        f"The queue's database was damaged ({rfc3339(report.at)}). clipperd recovered"
        f" {report.rows.get('clip', 0)} clips {source}."
    )
    undecided = report.undecided + report.without_content + report.without_place
    if undecided:
        detail += f" {undecided} of them need you."
    if report.leftover:
        detail += f" {report.leftover} texts without a clip are in leftover.json."
    folder = quarantine / report.quarantine
    return Finding(
        "warning", detail, f"Run clipperd queue list. The damaged file is kept in {folder}."
    )


async def check_secrets(secrets: Secrets) -> Finding:
    """Check that the session survives a restart."""
    if secrets.mode == "memory":
        why = secrets.why or "The session is kept in memory and ends with the daemon."
        return Finding("warning", why, "Unlock or install a keyring, then sign in again.")
    return Finding("ok", f"The session is kept in: {secrets.mode}.")


async def check_link(connectivity: Connectivity, proxy: str | None = None) -> Finding:
    """Check that the broker and Notion can be reached and a user is signed in.

    ``proxy``: host and port of the proxy to the broker.
    """
    link = connectivity.status
    through = f" The way to the service leads through the proxy {proxy}." if proxy else ""
    failure = f" {connectivity.failure}" if connectivity.failure else ""
    if link.state == "online":
        return Finding("ok", f"The service can be reached.{through}")
    if link.why == NOT_CONFIGURED:
        return Finding("error", "No broker is configured.", BrokerNotConfigured.remedy)
    if link.state in ("signed_out", "reauth_required"):
        detail = f"No user is signed in.{failure}{through}"
        return Finding("warning", detail, "Run clipperd login.")
    detail = f"The service is {link.state}: {link.why or 'no answer'}.{failure}{through}"
    return Finding("warning", detail)


async def check_queue(clips: Clips) -> Finding:
    """Check that no delivery needs attention, is paused or is overdue."""
    status = await clips.status()
    needs_attention = int(status["needs_attention"])
    if needs_attention:
        detail = f"{needs_attention} deliveries need your decision."
        return Finding("warning", detail, "Run clipperd queue list.")
    if status["paused"]:
        return Finding("info", "The queue is paused.", "Run clipperd queue resume.")
    overdue = await clips.overdue()
    if overdue:
        detail = f"{overdue} deliveries have waited for more than a week."
        return Finding("warning", detail, "Run clipperd queue list.", depends_on=("link",))
    return Finding("ok", "The queue moves.", depends_on=("link",))


async def check_other_accounts(clips: Clips) -> Finding:
    """Report the unfinished clips of accounts that are not signed in."""
    found = await clips.other_accounts()
    if not found:
        return Finding("ok", "No clips of other accounts wait here.")
    detail = " ".join(
        f"{each['waiting'] + each['needs_attention']} clips of"
        f" {each['email'] or each['user_id']} wait for that account."
        for each in found
    )
    remedy = (
        "Sign in as that account, or list them with clipperd queue list --all-accounts and take"
        " them over with clipperd queue adopt ACCOUNT."
    )
    return Finding("warning", detail, remedy)
