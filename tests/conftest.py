"""What tests measured is shown at the end of the run, also when other processes ran them."""

from __future__ import annotations

from collections import defaultdict

import pytest


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
