"""When an unchanged last_edited_time proves an unchanged page (pure).

Notion rounds the time down to the minute (developers.notion.com/changelog/last-edited-time-is-
now-rounded-to-the-nearest-minute): an edit at 10:00:50 leaves the stamp of one at 10:00:05, and
a snapshot read at 10:00:30 holds only the first.
"""

from __future__ import annotations

from clipperd.clock import from_rfc3339

MINUTE_S = 60.0
SKEW_S = 10.0  # how far the clock behind the Date header may be from Notion's


def is_unchanged(stamp: str, read_at: float | None) -> bool:
    """True when nothing can have changed after a snapshot that was read at ``read_at``.

    ``stamp`` is the page's last_edited_time now, ``read_at`` the server's time (epoch seconds)
    before which no part of the snapshot was read. The last edit lies in the stamp's minute; a
    snapshot read after that minute holds it. Which stamp the snapshot itself had says no more.
    """
    if read_at is None:
        return False
    try:
        return read_at >= from_rfc3339(stamp) + MINUTE_S + SKEW_S
    except ValueError:
        return False
