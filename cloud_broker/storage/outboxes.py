"""Remembers how far each outbox of an account has sent; holds all SQL of that table.

A daemon's queue file has an id, and a counter that grows with each request. The row says which run
of a daemon sent last under that id and the highest counter, so that a copy of the file, or the
file set back to an older state, is recognised before it sends (docs/decisions/0022).
"""

from __future__ import annotations

from dataclasses import dataclass

from cloud_broker.storage.database import Row, Tx

STEPS = [
    """
    CREATE TABLE outboxes (
        user_id TEXT NOT NULL,
        id TEXT NOT NULL,
        run TEXT NOT NULL,
        counter BIGINT NOT NULL,
        newest_clip BIGINT NOT NULL,
        PRIMARY KEY (user_id, id)
    )
    """,
]


@dataclass(frozen=True, slots=True)
class OutboxMark:
    """A write's place in the line of its outbox.

    ``run``: the daemon process that sends it. ``counter``: the number of this request.
    ``newest_clip``: the newest clip in the file when the run began. ``earlier``: runs on the same
    file before this one, each with the counter at its end.
    """

    outbox: str
    run: str
    counter: int
    newest_clip: int
    earlier: tuple[tuple[str, int], ...] = ()


class Behind(Exception):
    """The file is a copy, or older than the one that sent last. Holds the remembered row."""

    def __init__(self, run: str, counter: int, newest_clip: int) -> None:
        super().__init__("the outbox is behind")
        self.run = run
        self.counter = counter
        self.newest_clip = newest_clip


async def advance(tx: Tx, user_id: str, mark: OutboxMark) -> None:
    """Remember the write, in the transaction of its intent. Raises Behind.

    Requests of one run may overtake each other. Another run may follow only if its file knows the
    remembered run up to the remembered counter.
    """
    line = {"user": user_id, "id": mark.outbox, "run": mark.run, "counter": mark.counter}
    while True:
        if await tx.execute(
            """
            UPDATE outboxes SET
              counter = CASE WHEN counter < :counter THEN :counter ELSE counter END
            WHERE user_id = :user AND id = :id AND run = :run
            """,
            **line,
        ):
            return
        if await tx.execute(
            """
            INSERT INTO outboxes (user_id, id, run, counter, newest_clip)
            VALUES (:user, :id, :run, :counter, :newest)
            ON CONFLICT (user_id, id) DO NOTHING
            """,
            **line,
            newest=mark.newest_clip,
        ):
            return
        row = await remembered(tx, user_id, mark.outbox)
        if row is None:
            continue  # erased in the meantime
        end = dict(mark.earlier).get(row.run)
        if end is None or end < row.counter:
            raise row
        if await tx.execute(
            """
            UPDATE outboxes SET run = :run, newest_clip = :newest,
              counter = CASE WHEN counter < :counter THEN :counter ELSE counter END
            WHERE user_id = :user AND id = :id AND run = :last AND counter <= :end
            """,
            **line,
            newest=mark.newest_clip,
            last=row.run,
            end=end,
        ):
            return


async def remembered(tx: Tx, user_id: str, outbox: str) -> Behind | None:
    """Return the row of an outbox as the error that a copy gets; None if there is none."""
    row = await tx.one(
        "SELECT run, counter, newest_clip FROM outboxes WHERE user_id = :user AND id = :id",
        user=user_id,
        id=outbox,
    )
    return None if row is None else Behind(row["run"], row["counter"], row["newest_clip"])


async def erase(tx: Tx, user_id: str) -> int:
    """Delete the rows of one user, in the caller's transaction."""
    return await tx.execute("DELETE FROM outboxes WHERE user_id = :user", user=user_id)


async def of_user(tx: Tx, user_id: str) -> list[Row]:
    """Return the user's rows, for an export."""
    return await tx.all(
        "SELECT id, run, counter, newest_clip FROM outboxes WHERE user_id = :user ORDER BY id",
        user=user_id,
    )


async def delete_orphans(tx: Tx) -> int:
    """Delete the rows of deleted accounts: a call may end after its account is erased."""
    return await tx.execute(
        "DELETE FROM outboxes WHERE user_id NOT IN (SELECT id FROM user_profiles)"
    )
