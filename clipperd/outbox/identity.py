"""Number the requests of outbox.db, so that the broker recognises a copy of the file.

The file has an id, and for each account a counter and the processes ("runs") that sent from it.
The broker refuses a file that lacks something sent under its id: a copy on another machine, or a
snapshot, a backup or a synced folder that set the file back (docs/decisions/0022).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import msgspec

from clipperd.model import State
from clipperd.outbox import requests
from clipperd.outbox.records import FINISHED_SQL, Member, Request

_EARLIER = 16  # earlier runs that the broker accepts in the header
_RETIRED = "0"  # a run that the broker never knows: the id was given up after this request
_WHY = (
    "Another copy of this queue may have sent it: on another computer, or before a backup was"
    " restored here. Look at the page, then say whether it arrived."
)


class Run(msgspec.Struct, frozen=True):
    """This process: its random name, and the newest ``clip.seq`` in the file when it began."""

    name: str
    newest_clip: int


class Line(msgspec.Struct, frozen=True):
    """An account's id at the broker, its counter, and its runs, newest first.

    Each run has the counter at its end. Under a new ``id`` nothing has been sent.
    """

    id: str
    counter: int = 0
    runs: Sequence[tuple[str, int]] = ()

    def entered(self, run: Run, counter: int) -> Line:
        """Return the line with ``run`` as its newest, at ``counter``."""
        before = [each for each in self.runs if each[0] != run.name]
        return Line(self.id, counter, ((run.name, counter), *before[:_EARLIER]))


class Divergence(msgspec.Struct, frozen=True):
    """The broker's memory of the other copy: its run, and the newest clip when that began."""

    run: str
    newest_clip: int


def newest_clip(connection: sqlite3.Connection) -> int:
    """Return the number of the newest clip in the file."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM clip").fetchone()[0])


def number(connection: sqlite3.Connection, request: Request, run: Run) -> None:
    """Number a request in the transaction that stores it."""
    line = _line(connection, request.scope.user_id)
    line = line.entered(run, line.counter + 1)
    _store(connection, request.scope.user_id, line)
    connection.execute(
        "UPDATE request SET outbox = ?, counter = ? WHERE key = ?",
        (line.id, line.counter, request.key),
    )


def header(connection: sqlite3.Connection, request: Request, run: Run) -> str | None:
    """Return the request's ``X-Outbox``; None for one that an earlier version stored.

    Records the run before its first request leaves. Raises requests.Changed if the request is
    gone: another lane has learned that the file is a copy.
    """
    row = connection.execute(
        "SELECT outbox, counter FROM request WHERE key = ?", (request.key,)
    ).fetchone()
    if row is None:
        raise requests.Changed
    if row["outbox"] is None:
        return None
    user_id = request.scope.user_id
    line = _line(connection, user_id)
    if line.id != row["outbox"]:
        return f"{row['outbox']} {_RETIRED}:{row['counter']}:0"
    if not line.runs or line.runs[0][0] != run.name:
        line = line.entered(run, max(line.counter, row["counter"]))
        _store(connection, user_id, line)
    earlier = [f"{name}:{end}" for name, end in line.runs[1:]]
    return " ".join((line.id, f"{run.name}:{row['counter']}:{run.newest_clip}", *earlier))


def is_recorded(connection: sqlite3.Connection, user_id: str, run: Run) -> bool:
    """Return whether the newest run of the account is this one: the header then writes nothing."""
    runs = _line(connection, user_id).runs
    return bool(runs) and runs[0][0] == run.name


def diverge(
    connection: sqlite3.Connection, request: Request, other: Divergence, run: Run, now: float
) -> list[int]:
    """Give up the id after the broker refused ``request``, of which nothing was sent.

    The other copy has, or may have, every clip that was accepted before both had runs of their
    own: the user decides about those. Later clips continue under a new id. The numbers of clips
    only grow, so the newest at the start of the later of both runs is the bound. If the other
    copy is of the same run (a machine set back with its memory), there is no bound.
    """
    user_id = request.scope.user_id
    row = connection.execute("SELECT outbox FROM request WHERE key = ?", (request.key,)).fetchone()
    if row is None:
        return []
    doubtful: list[sqlite3.Row] = []
    if row["outbox"] == _line(connection, user_id).id:
        _store(connection, user_id, Line(request.key))
        is_same = other.run == run.name
        bound = newest_clip(connection) if is_same else max(other.newest_clip, run.newest_clip)
        doubtful = _ask(connection, user_id, bound)
    return [
        *requests.bump_versions(connection, [Member(r["seq"], 0, 0, 0) for r in doubtful], now),
        *requests.release(
            connection, request, retry_at=None, error=None, burned=False, calls=0, now=now
        ),
    ]


def _ask(connection: sqlite3.Connection, user_id: str, bound: int) -> list[sqlite3.Row]:
    """Let the user decide about the open deliveries of clips up to ``bound``; return them.

    Requests that carry one of them are deleted: their answer, if one is on its way, still
    closes the delivery.
    """
    mixed = (
        "(SELECT request_key FROM delivery WHERE user_id = :user AND clip_seq <= :bound"
        " AND request_key IS NOT NULL)"
    )
    keys = connection.execute(mixed[1:-1], {"user": user_id, "bound": bound}).fetchall()
    rows = connection.execute(
        "UPDATE delivery SET state = :state, reason = 'outcome_unknown',"
        " error_code = 'outcome_unknown', error_message = :why, request_key = NULL, due_at = NULL"
        f" WHERE user_id = :user AND state NOT IN {FINISHED_SQL}"
        f" AND (clip_seq <= :bound OR request_key IN {mixed})"
        " AND coalesce(reason, '') NOT IN ('outcome_unknown', 'content_lost', 'place_lost')"
        " RETURNING seq",
        {"state": State.NEEDS_ATTENTION, "why": _WHY, "user": user_id, "bound": bound},
    ).fetchall()
    connection.executemany(
        "DELETE FROM request WHERE key = ?", [(row["request_key"],) for row in keys]
    )
    return rows


def _line(connection: sqlite3.Connection, user_id: str) -> Line:
    row = connection.execute(
        "SELECT id, counter, runs FROM outbox_line WHERE user_id = ?", (user_id,)
    ).fetchone()
    if row is None:
        return Line(connection.execute("SELECT id FROM outbox_id").fetchone()[0])
    runs = tuple((name, end) for name, end in json.loads(row["runs"]))
    return Line(row["id"], row["counter"], runs)


def _store(connection: sqlite3.Connection, user_id: str, line: Line) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO outbox_line (user_id, id, counter, runs) VALUES (?, ?, ?, ?)",
        (user_id, line.id, line.counter, json.dumps(line.runs)),
    )
