"""``GET /v1/health``: what is wrong, since when, because of what, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from clipperd.clock import rfc3339
from clipperd.errors import ClipperdError
from clipperd.health import Check, Finding, Severity
from clipperd.web.middleware.chain import CLOCK
from clipperd.web.routes import Route, answer

_RANK: tuple[Severity, ...] = ("ok", "info", "warning", "error")


class CheckView(msgspec.Struct):
    """``because_of``: the failing checks that explain this one, so a cause shows once."""

    id: str
    severity: Severity
    detail: str
    remedy: str | None
    depends_on: list[str]
    because_of: list[str]
    since: str | None


class HealthView(msgspec.Struct):
    """``severity`` is the worst of all checks; ``ok`` says that none is a warning or worse."""

    ok: bool
    severity: Severity
    checks: list[CheckView]


class Health:
    """Runs the checks and remembers since when each has not been well."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        """``checks`` by their stable ids."""
        self._checks = dict(checks)
        self._since: dict[str, float] = {}

    async def look(self, now: float) -> HealthView:
        """Run every check; one that cannot be made is an error itself. ``now``: epoch seconds."""
        findings = {name: await _find(check) for name, check in self._checks.items()}
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


HEALTH: web.AppKey[Health] = web.AppKey("health")


def _rank(finding: Finding) -> int:
    return _RANK.index(finding.severity)


async def _find(check: Check) -> Finding:
    try:
        return await check()
    except ClipperdError as error:
        return Finding("error", f"This could not be checked: {error.detail}", error.hint)


async def _health(request: web.Request) -> web.Response:
    return answer(await request.app[HEALTH].look(request.app[CLOCK].now()))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/health",
        _health,
        "read",
        "Checks with severity, since, depends_on and remedy",
        answers={200: HealthView},
    ),
)
