"""The database: durable when it answers, one commit for many writes, clear about a full disk."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from clipperd.errors import SchemaTooNew, StorageFull
from clipperd.storage.database import Connection, ConnectionThread, Database, Job
from clipperd.storage.migration import Step, refuse_newer


def m001_items(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE item (n INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")


def m002_more(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE item ADD COLUMN more TEXT")


def open_db(path: Path, *steps: Step, checkpoint_idle_s: float = 0.1) -> Database:
    steps = steps or (m001_items,)
    return Database.open(
        path, name="test", steps=steps, synchronous="FULL", checkpoint_idle_s=checkpoint_idle_s
    )


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_db(tmp_path / "test.db")
    yield database
    database.close()


def insert(n: int, text: str = "x") -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO item (n, text) VALUES (?, ?)", (n, text))
        return n

    return work


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM item").fetchone()[0])


async def test_a_read_sees_every_write_that_was_answered(db: Database) -> None:
    for n in range(5):
        await db.write(insert(n))
        assert await db.read(count) == n + 1


async def test_writes_that_arrive_together_share_commits(db: Database) -> None:
    changes = await db.read(lambda c: c.execute("PRAGMA data_version").fetchone()[0])
    await asyncio.gather(*(db.write(insert(n)) for n in range(200)))
    after = await db.read(lambda c: c.execute("PRAGMA data_version").fetchone()[0])
    assert await db.read(count) == 200
    assert after - changes <= 20  # data_version counts commits by others: far fewer than writes


async def test_a_write_that_raises_undoes_only_itself(db: Database) -> None:
    results = await asyncio.gather(
        db.write(insert(1)),
        db.write(insert(1)),
        db.write(insert(2)),
        return_exceptions=True,
    )
    assert isinstance(results[1], sqlite3.IntegrityError)
    assert await db.read(count) == 2


async def test_the_reader_cannot_write(db: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await db.read(insert(1))


DAMAGED = "CAST('tit' || x'ec' || 'e' AS TEXT)"  # one bit of an ASCII letter flipped


async def test_damaged_text_fails_its_reader_only(db: Database) -> None:
    await db.write(lambda c: c.execute(f"INSERT INTO item VALUES (1, {DAMAGED})").rowcount)

    def texts(connection: sqlite3.Connection) -> list[str]:
        return [text for (text,) in connection.execute("SELECT text FROM item")]

    async with asyncio.timeout(60):
        for ask in (db.read, db.write):
            with pytest.raises(sqlite3.OperationalError, match="UTF-8"):
                await ask(texts)
            assert await ask(count) == 1


async def test_damaged_text_can_be_read_with_replacement_characters(
    tmp_path: Path,
) -> None:
    db = Database.open(
        tmp_path / "test.db",
        name="test",
        steps=(m001_items,),
        synchronous="FULL",
        damaged_text="replaced",
    )
    await db.write(lambda c: c.execute(f"INSERT INTO item VALUES (1, {DAMAGED})").rowcount)
    for ask in (db.read, db.write):
        row = await ask(lambda c: c.execute("SELECT text FROM item").fetchone())
        assert row["text"] == "tit\ufffde"
    db.close()


class Broken(Connection):
    """A connection that fails in a batch or between two batches."""

    def __init__(self, *, breaks_at: str) -> None:
        super().__init__(lambda: sqlite3.connect(":memory:"))
        self._breaks_at = breaks_at

    def execute(self, batch: Sequence[Job]) -> None:
        if self._breaks_at == "work":
            self._breaks_at = ""
            raise AttributeError("a fault of the connection")
        super().execute(batch)

    def idle(self, *, is_busy: bool) -> float | None:
        if self._breaks_at == "rest":
            raise AttributeError("a fault of the connection")
        return super().idle(is_busy=is_busy)


async def one(worker: ConnectionThread) -> int:
    job = Job(lambda c: c.execute("SELECT 1").fetchone()[0], asyncio.get_running_loop())
    worker.put(job)
    async with asyncio.timeout(60):
        return int(await job.future)


async def test_a_connection_that_fails_fails_the_batch_and_continues() -> None:
    worker = ConnectionThread("broken", Broken(breaks_at="work"))
    worker.start()
    with pytest.raises(AttributeError):
        await one(worker)
    assert await one(worker) == 1
    worker.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_no_caller_waits_for_a_connection_that_broke_off() -> None:
    worker = ConnectionThread("broken", Broken(breaks_at="rest"))
    worker.start()
    assert await one(worker) == 1
    for _ in range(3):
        with pytest.raises(sqlite3.ProgrammingError):
            await one(worker)
    worker.stop()


async def test_no_caller_waits_for_a_closed_file(tmp_path: Path) -> None:
    db = open_db(tmp_path / "test.db")
    db.close()
    async with asyncio.timeout(60):
        for ask in (db.read, db.write):
            with pytest.raises(sqlite3.ProgrammingError):
                await ask(count)


async def test_the_connection_is_durable_and_never_checkpoints_automatically(db: Database) -> None:
    values = await db.write(
        lambda c: [
            c.execute(f"PRAGMA {name}").fetchone()[0]
            for name in (
                "journal_mode",
                "synchronous",
                "wal_autocheckpoint",
                "foreign_keys",
                "fullfsync",  # macOS: through the drive's own cache
                "checkpoint_fullfsync",
            )
        ]
    )
    assert values == ["wal", 2, 0, 1, 1, 1]


async def test_a_connection_keeps_at_most_a_quarter_megabyte_of_the_file(db: Database) -> None:
    def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
        kept = connection.execute("PRAGMA cache_size").fetchone()[0]
        return kept, connection.execute("PRAGMA mmap_size").fetchone()[0]

    assert await db.read(bounds) == await db.write(bounds) == (-250, 0)


async def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    old = open_db(path)
    await old.write(insert(1))
    old.close()
    new = open_db(path, m001_items, m002_more)
    columns = await new.read(lambda c: [row[1] for row in c.execute("PRAGMA table_info(item)")])
    assert columns == ["n", "text", "more"]
    assert await new.read(count) == 1
    new.close()
    open_db(path, m001_items, m002_more).close()


async def test_no_checkpoint_runs_between_a_write_and_its_answer(db: Database) -> None:
    answered, folded = threading.Event(), []

    def see(sql: str) -> None:
        """Run in the writer thread: the last caller must be able to continue meanwhile."""
        if "wal_checkpoint" in sql:
            folded.append(answered.wait(20))

    await db.write(lambda connection: connection.set_trace_callback(see))
    for n in range(70):
        answered.clear()
        await db.write(insert(n, "x" * 1_000_000))
        answered.set()
        await db.write(lambda _: None)  # and what comes meanwhile is done after it
    assert folded
    assert all(folded)


def m003_breaks(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE half (n INTEGER) STRICT")
    raise sqlite3.OperationalError("the disk was full here")


def m003_works(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE half (n INTEGER) STRICT")


m003_works.__name__ = m003_breaks.__name__


async def test_a_step_that_is_interrupted_leaves_nothing_and_is_made_at_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "test.db"
    with pytest.raises(sqlite3.OperationalError):
        open_db(path, m001_items, m002_more, m003_breaks)
    again = open_db(path, m001_items, m002_more, m003_works)
    await again.write(lambda c: c.execute("INSERT INTO half VALUES (1)").rowcount)
    await again.write(lambda c: c.execute("PRAGMA user_version").fetchone()[0])
    again.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")  # a crash after the step, before the count
    open_db(path, m001_items, m002_more, m003_works).close()


async def test_a_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    open_db(path, m001_items, m002_more).close()
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew):
        open_db(path)
    assert path.read_bytes() == before


def test_a_newer_file_keeps_the_log_that_a_crash_left_it(tmp_path: Path) -> None:
    path, log = tmp_path / "test.db", tmp_path / "test.db-wal"
    open_db(path, m001_items, m002_more).close()
    with closing(sqlite3.connect(tmp_path / "test.db")) as newer:
        newer.execute("PRAGMA wal_autocheckpoint=0")
        newer.execute("INSERT INTO item (n, text) VALUES (1, 'in the log')")
        newer.commit()
        left = (path.read_bytes(), log.read_bytes())
    path.write_bytes(left[0])  # closing has folded it
    log.write_bytes(left[1])
    with pytest.raises(SchemaTooNew):
        refuse_newer(path, "test", (m001_items,))
    assert (path.read_bytes(), log.read_bytes()) == left


async def test_a_damaged_file_is_an_error_not_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        open_db(path)


async def test_a_full_disk_is_reported_and_stored_rows_stay_readable(tmp_path: Path) -> None:
    # A limit on the size of files this process may write stands in for a full disk.
    db = open_db(tmp_path / "test.db")
    await db.write(insert(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, hard))
    try:
        with pytest.raises(StorageFull):
            await db.write(insert(2, "x" * 500_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await db.read(count) == 1
    await db.write(insert(3))
    assert await db.read(count) == 2
    db.close()


def test_an_answered_write_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.clipperd.storage.test_database import insert, open_db\n"
        "async def main():\n"
        "    db = open_db(Path(sys.argv[1]))\n"
        "    for n in range(10_000):\n"
        "        await db.write(insert(n))\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "test.db"
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child, child.stdout:
        last = -1
        for line in child.stdout:
            last = int(line)
            if last >= 50:
                break
        child.kill()
        last = max([last, *(int(line) for line in child.stdout if line.strip())])
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    stored = [row[0] for row in connection.execute("SELECT n FROM item ORDER BY n")]
    connection.close()
    assert stored[: last + 1] == list(range(last + 1))
