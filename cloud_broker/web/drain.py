"""Whether the broker is stopping: readiness fails first, requests under way go on."""

from __future__ import annotations


class Drain:
    """A flag that is raised once."""

    def __init__(self) -> None:
        """Not stopping."""
        self.has_begun = False

    def begin(self) -> None:
        """Report not ready from now on."""
        self.has_begun = True
