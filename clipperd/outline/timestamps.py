"""Decides whether an unchanged last_edited_time proves an unchanged page (pure).

Notion rounds the time down to the minute (developers.notion.com/changelog/last-edited-time-is-
now-rounded-to-the-nearest-minute): an edit at 10:00:50 leaves the stamp of one at 10:00:05, and
a snapshot read at 10:00:30 holds only the first.
"""

from __future__ import annotations

from clipperd.clock import from_rfc3339

MINUTE_S = 60.0
SKEW_S = 10.0  # seconds between the clock of the Date header and Notion's, at most


def is_unchanged(stamp: str, read_at: float | None) -> bool:
    """Return whether a snapshot that was read at ``read_at`` still matches the page.

    ``stamp`` is the page's last_edited_time now, ``read_at`` the server's time (epoch seconds)
    before which no part of the snapshot was read. The last edit lies in the stamp's minute; a
    snapshot read after that minute includes it. The stamp of the snapshot itself does not matter.
    """
    if read_at is None:
        return False
    try:
        return read_at >= from_rfc3339(stamp) + MINUTE_S + SKEW_S
    except ValueError:
        return False
