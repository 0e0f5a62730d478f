"""One SQLite file: a single writing thread with group commit, and a reading thread beside it.

Only the writer's connection can write or checkpoint, so no caller ever meets "database is
locked" and the WAL-reset bug of SQLite before 3.51.3 (two connections that write and checkpoint
at the same instant) cannot occur. Writes that arrive together share one commit, hence one fsync.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from clipperd.storage.connection import connect
from clipperd.storage.disk import translate
from clipperd.storage.migration import Step, migrated
from clipperd.storage.text import readable
from clipperd.storage.wal import QUIET_S, WriteAheadLog

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_BATCH = 512  # writes that may share one commit; bounds the wait of the first of them


class Job:
    """One piece of work, and the future of whoever waits for it."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        """``loop`` is the caller's, which is told there."""
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell the caller; on its own loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Connection:
    """One connection and what is done on it: reading here, writing in :class:`_WritingDesk`."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """``connect`` is called by whoever works at the desk, in its own thread."""
        self._connect = connect
        self._opened: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, once it is open."""
        assert self._opened is not None, "opened before it is worked with"
        return self._opened

    def open(self) -> None:
        """Connect. Raises what ``connect`` raises."""
        self._opened = self._connect()

    def perform(self, batch: Sequence[Job]) -> None:
        """Run each job on its own."""
        for job in batch:
            try:
                job.result = job.work(self.connection)
            except sqlite3.Error as error:
                # Errors of the module itself, which SQLite knows nothing of, have no such name.
                name = getattr(error, "sqlite_errorname", "")
                is_ours = name == "SQLITE_READONLY"  # it writes where it may not
                job.error = error if is_ours else translate(error)
            except BaseException as error:  # delivered to the caller that awaits the job
                job.error = error

    def rest(self, *, waited_for: bool) -> float | None:  # noqa: ARG002 (who reads needs none)
        """Between two batches; ``waited_for`` when the next may be there already.

        Returns the seconds of quiet after which to call again without, None for never.
        """
        return None

    def close(self) -> None:
        """Nothing comes any more."""
        self.connection.close()


class Executor(Protocol):
    """Who does the work of a desk: a thread of its own, or what a simulation puts in its place."""

    def start(self) -> None:
        """Open the desk. Raises what that raises."""

    def put(self, job: Job) -> None:
        """Do it, in the order in which jobs were put, and settle it on its caller's loop.

        After :meth:`stop` it fails with sqlite3.ProgrammingError, as on a closed connection.
        """

    def stop(self) -> None:
        """Do what was put, close the desk, return then."""


class ConnectionThread:
    """A thread that works at one desk until it is told to stop."""

    def __init__(self, name: str, desk: Connection) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._desk = desk
        self._ready: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._gate = threading.Lock()  # what is put before the end is done, what comes after fails
        self._is_over = False

    def start(self) -> None:
        self._thread.start()
        error = self._ready.get()
        if error is not None:
            raise error

    def put(self, job: Job) -> None:
        with self._gate:
            if not self._is_over:
                self._jobs.put(job)
                return
        _fail([job], _closed())

    def stop(self) -> None:
        with self._gate:
            self._is_over = True
            self._jobs.put(None)
        self._thread.join()

    def _main(self) -> None:
        try:
            self._desk.open()
        except BaseException as error:  # handed to start(), which raises it in the caller
            self._ready.put(error)
            return
        self._ready.put(None)
        try:
            open_, quiet_s = True, None
            while open_:
                batch, open_ = self._gather(quiet_s)
                if batch:
                    self._perform(batch)
                if open_:
                    quiet_s = self._desk.rest(waited_for=True)
        finally:
            self._refuse()
            self._desk.close()

    def _perform(self, batch: Sequence[Job]) -> None:
        """Nobody waits for ever: what the desk itself fails with is every caller's answer."""
        try:
            self._desk.perform(batch)
        except BaseException as error:  # delivered to the callers
            _fail(batch, error)
        else:
            _settle(batch)

    def _refuse(self) -> None:
        """Nothing is taken any more; what is left, where the thread breaks off, fails."""
        with self._gate:
            self._is_over = True
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    _fail([job], _closed())

    def _first(self, quiet_s: float | None) -> Job | None:
        try:
            return self._jobs.get(timeout=quiet_s)
        except queue.Empty:
            self._desk.rest(waited_for=False)
            return self._jobs.get()

    def _gather(self, quiet_s: float | None) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        job = self._first(quiet_s)
        while True:
            if job is None:
                return batch, False
            batch.append(job)
            if len(batch) >= _BATCH:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, True


def _closed() -> sqlite3.ProgrammingError:
    return sqlite3.ProgrammingError("Cannot operate on a closed database.")


def _fail(batch: Sequence[Job], error: BaseException) -> None:
    for job in batch:
        job.error = error
    _settle(batch)


def _settle(batch: Sequence[Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle_all, jobs)


def _settle_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()


class _WritingDesk(Connection):
    def __init__(self, connect: Callable[[], sqlite3.Connection], log: WriteAheadLog) -> None:
        super().__init__(connect)
        self._log = log
        self.emptying: Job | None = None  # of who wants nothing left that was deleted

    def perform(self, batch: Sequence[Job]) -> None:
        """Run the batch in one transaction; a job that raises undoes only itself."""
        connection = self.connection
        if len(batch) == 1:  # needs no savepoint to be undone alone
            self._perform_one(connection, batch[0])
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                connection.execute("SAVEPOINT job")
                try:
                    job.result = job.work(connection)
                except BaseException as error:
                    if isinstance(error, sqlite3.Error) and translate(error) is not error:
                        raise  # the disk is in trouble, so the whole batch is
                    job.error = error  # delivered to the caller that awaits the job
                    connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except BaseException as error:  # delivered to all of them
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for job in batch:
                job.error = translate(error) if isinstance(error, sqlite3.Error) else error

    def _perform_one(self, connection: sqlite3.Connection, job: Job) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            job.result = job.work(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            # delivered to the caller that awaits the job
            job.error = translate(error) if isinstance(error, sqlite3.Error) else error

    def rest(self, *, waited_for: bool) -> float | None:
        """Fold the log back off the acknowledge path; see :class:`clipperd.storage.wal.Log`."""
        if self.emptying is not None and not waited_for:
            job, self.emptying = self.emptying, None
            job.result = self._log.empty(self.connection)
            _settle([job])
        quiet_s = self._log.rest(self.connection, waited_for=waited_for)
        return quiet_s if self.emptying is None else QUIET_S

    def close(self) -> None:
        """Leave one clean file behind."""
        self._log.end(self.connection)
        super().close()


class Store(Protocol):
    """What is read and written by jobs; see :class:`Database`."""

    async def write(self, work: Work[T]) -> T:
        """In a transaction."""

    async def read(self, work: Work[T]) -> T:
        """On the query-only connection."""


class Database:
    """A SQLite file behind two threads. Open with :meth:`open`, close with :meth:`close`."""

    def __init__(self, path: Path, desk: _WritingDesk, writer: Executor, reader: Executor) -> None:
        """Use :meth:`open`."""
        self.path = path
        self._desk = desk
        self._writer = writer
        self._reader = reader

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: str,
        steps: Sequence[Step],
        synchronous: Literal["FULL", "NORMAL"],
        patience_s: float = 5.0,
        quiet_s: float = QUIET_S,
        damaged_text: Literal["refused", "replaced"] = "refused",
        hire: Callable[[str, Connection], Executor] = ConnectionThread,
    ) -> Database:
        """Open or create ``path``, bring its schema up to ``steps``, start the threads.

        ``patience_s``: how long a write waits for another program that holds the file.
        ``quiet_s``: nobody has written for so long when the log is folded back. ``damaged_text``:
        whether a job that meets text which is not UTF-8 fails, or reads what is left of it.
        ``hire``: who works at each of its two desks, a thread as a rule.

        Raises SchemaTooNew when a newer program wrote it, StorageFull when the disk refuses, and
        sqlite3.DatabaseError when the file is damaged.
        """

        def connected(*, query_only: bool) -> sqlite3.Connection:
            connection = connect(path, synchronous, patience_s, query_only=query_only)
            if damaged_text == "replaced":
                connection.text_factory = readable
            return connection

        def writing() -> sqlite3.Connection:
            try:
                return migrated(connected(query_only=False), name, steps)
            except sqlite3.OperationalError as error:
                raise translate(error) from error

        desk = _WritingDesk(writing, WriteAheadLog(path, quiet_s))
        writer = hire(f"{name}-writer", desk)
        writer.start()
        reading = Connection(lambda: connected(query_only=True))
        reader = hire(f"{name}-reader", reading)
        try:
            reader.start()
        except BaseException:
            writer.stop()
            raise
        return cls(path, desk, writer, reader)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction and return its result once that is committed (synced)."""
        return await self._submit(self._writer, work)

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on the query-only connection; it sees every write answered before."""
        return await self._submit(self._reader, work)

    async def fold(self) -> bool:
        """Bring the whole log into the file and empty it, so that neither holds what was deleted.

        When nobody writes, as each checkpoint. False when somebody still reads an older state, or
        the disk refuses.
        """
        job = Job(lambda _: None, asyncio.get_running_loop())
        self._desk.emptying = job
        await self.write(lambda _: None)  # behind each batch the desk rests
        return bool(await job.future)

    async def _submit(self, worker: Executor, work: Work[T]) -> T:
        job = Job(work, asyncio.get_running_loop())
        worker.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what is queued, checkpoint, stop both threads. Call once."""
        self._reader.stop()
        self._writer.stop()
