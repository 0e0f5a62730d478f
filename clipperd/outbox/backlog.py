"""Count the requests that each lane still needs, batched as they will be sent, in one read."""

from __future__ import annotations

import math
import sqlite3

from clipperd.content.limits import CHILDREN, ELEMENTS, REQUEST_BYTES
from clipperd.outbox.records import OPEN_SQL, LaneKey
from clipperd.outbox.schema import DEFERRED

_MOST = 2_000  # deliveries read, page by page; further pages are assumed to be like them

_OPEN = f"state IN {OPEN_SQL} AND state <> 'needs_attention'"  # uses the index delivery_open

_DUE = f"""d.user_id = :user AND d.turn < :deferred
  AND {_OPEN}
  AND NOT EXISTS (SELECT 1 FROM lane_setting s JOIN delivery p
    ON p.user_id = s.user_id AND p.workspace_id = s.workspace_id AND p.lane = s.page_id
    WHERE s.user_id = d.user_id AND s.workspace_id = d.workspace_id AND s.page_id = d.lane
    AND s.parked = 'wait' AND p.state = 'needs_attention' AND p.turn < d.turn)
  AND NOT (d.page_id IS NULL AND d.new_page IS NULL AND EXISTS (SELECT 1 FROM delivery p
    WHERE p.user_id = d.user_id AND p.workspace_id = d.workspace_id AND p.lane = d.lane
    AND p.state = 'needs_attention' AND p.new_page IS NOT NULL))"""

_LINE = f"""
SELECT d.workspace_id, d.lane, d.turn, clip.first_level, clip.elements, clip.body_bytes,
  d.batch_cap, max(1, clip.chunks - d.chunks_done)
    + (d.new_page IS NOT NULL AND d.page_id IS NULL AND clip.chunks > 1) AS parts,
  iif(clip.chunks = 1 AND d.chunks_done = 0 AND d.new_page IS NULL AND d.batch_cap > 1,
    d.position, NULL) AS place
FROM delivery d JOIN clip ON clip.seq = d.clip_seq
WHERE {_DUE}
ORDER BY d.workspace_id, d.lane, d.turn LIMIT {_MOST}
"""

_RUNS = """
SELECT *, sum(starts) OVER (PARTITION BY workspace_id, lane ORDER BY turn) AS run FROM (
  SELECT *, place IS NULL OR lag(place) OVER (PARTITION BY workspace_id, lane ORDER BY turn)
    IS NOT place AS starts FROM line)
"""

_REQUESTS = f"""
SELECT workspace_id, lane, count(*) AS clips, max(max(parts), (count(*) - 1) / min(batch_cap) + 1,
  (sum(first_level) * (place IS NOT NULL) - 1) / {CHILDREN} + 1,
  (sum(elements) * (place IS NOT NULL) - 1) / {ELEMENTS} + 1,
  (sum(body_bytes) * (place IS NOT NULL) - 1) / {REQUEST_BYTES} + 1) AS requests
FROM ({_RUNS}) GROUP BY workspace_id, lane, run
"""

_LOADS = f"""
WITH line AS MATERIALIZED ({_LINE})
SELECT workspace_id, lane, sum(requests) AS requests, sum(clips) AS seen
FROM ({_REQUESTS}) GROUP BY workspace_id, lane
"""

_COUNT = f"SELECT count(*) AS n FROM delivery d WHERE {_DUE}"


def loads(connection: sqlite3.Connection, user_id: str) -> dict[LaneKey, int]:
    """Return the requests that each of the account's lanes needs, if none is refused.

    Neighbours for one position share requests; a long clip needs one for each chunk. Deferred clips
    and clips that wait for the user are not counted.
    """
    whose = {"user": user_id, "deferred": DEFERRED}
    rows = connection.execute(_LOADS, whose).fetchall()
    seen, share = sum(row["seen"] for row in rows), 1.0
    if seen >= _MOST:
        share = connection.execute(_COUNT, whose).fetchone()["n"] / seen
    return {
        (user_id, row["workspace_id"], row["lane"]): math.ceil(row["requests"] * share)
        for row in rows
    }
