"""Shared setup of all tests: prints recorded tables at the end, and switches off time limits."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: how long an example takes decides nothing.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each ``table: …`` property that a passed test recorded, one table after the other."""
    tables: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, row in report.user_properties:
            if name.startswith("table: "):
                tables[name.removeprefix("table: ")].append(str(row))
    for title, rows in sorted(tables.items()):
        terminalreporter.section(title)
        for row in sorted(rows):
            terminalreporter.write_line(row)
