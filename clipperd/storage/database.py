"""Run jobs on one SQLite file: a writer thread with group commit, and a reader thread.

Only the writer's connection can write or checkpoint, so no caller ever gets "database is
locked", and the WAL-reset bug of SQLite before 3.51.3 (two connections that write and checkpoint
at the same instant) cannot occur. Writes that arrive together share one commit and one fsync.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from clipperd.errors import StorageFull
from clipperd.storage.connection import connect
from clipperd.storage.disk import sync_folder, translate
from clipperd.storage.files import RESCUED, NamedFiles, beside, copy_whole, copying, lost_name_error
from clipperd.storage.migration import Step, migrated
from clipperd.storage.text import readable
from clipperd.storage.wal import CHECKPOINT_IDLE_S, WriteAheadLog

_log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

STORE_ERRORS = (StorageFull, sqlite3.Error)
"""The errors with which a read or a write fails because of its file."""

_BATCH = 512  # most writes that share one commit; bounds how long the first of them waits


class Job:
    """One piece of work, and the future that its caller awaits."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        """``loop`` is the caller's: the future is resolved there."""
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Resolve the future; call it on the caller's loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Connection:
    """Executes jobs on a SQLite connection: reads here, writes in :class:`_WriterConnection`."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """The executor calls ``connect`` in its own thread."""
        self.lock = threading.Lock()  # held while jobs run and while the file is changed
        self._connect = connect
        self._sqlite: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Return whether the connection is open."""
        return self._sqlite is not None

    @property
    def sqlite(self) -> sqlite3.Connection:
        """The SQLite connection; only after :meth:`open`."""
        assert self._sqlite is not None, "opened before it is worked with"
        return self._sqlite

    def open(self) -> None:
        """Connect. Raises what ``connect`` raises."""
        self._sqlite = self._connect()

    def execute(self, batch: Sequence[Job]) -> None:
        """Run each job on its own."""
        with self.lock:
            if not self.is_open:
                self.open()
            self._execute(batch)

    def _execute(self, batch: Sequence[Job]) -> None:
        for job in batch:
            try:
                job.result = job.work(self.sqlite)
            except sqlite3.Error as error:
                name = getattr(error, "sqlite_errorname", "")  # Python's own errors have none
                is_ours = name == "SQLITE_READONLY"  # the job writes on the query-only connection
                job.error = error if is_ours else translate(error)
            except BaseException as error:  # delivered to the caller that awaits the job
                job.error = error

    def idle(self, *, is_busy: bool) -> float | None:  # noqa: ARG002 (a reader has no idle work)
        """Do background work between two batches; with ``is_busy`` the next may be waiting.

        Returns the seconds without a job after which to call again with False; None for never.
        """
        return None

    def close(self) -> None:
        """Close the SQLite connection."""
        connection, self._sqlite = self._sqlite, None
        if connection is not None:
            connection.close()


class Executor(Protocol):
    """Runs the jobs of a connection: a thread, or a simulation's stand-in."""

    def start(self) -> None:
        """Open the connection. Raises what that raises."""

    def put(self, job: Job) -> None:
        """Queue a job. Jobs run in order; each is settled on its caller's loop.

        After :meth:`stop` it fails with sqlite3.ProgrammingError, as on a closed connection.
        """

    def stop(self) -> None:
        """Run every queued job and close the connection before returning."""


ExecutorFactory = Callable[[str, Connection], Executor]
"""Makes the executor of a connection; the text names its thread."""


class ConnectionThread:
    """A thread that runs the jobs of one connection until :meth:`stop`."""

    def __init__(self, name: str, connection: Connection) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection = connection
        self._ready: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._lock = threading.Lock()  # jobs put before the end run, later ones fail
        self._is_stopped = False

    def start(self) -> None:
        self._thread.start()
        error = self._ready.get()
        if error is not None:
            raise error

    def put(self, job: Job) -> None:
        with self._lock:
            if not self._is_stopped:
                self._jobs.put(job)
                return
        _fail([job], _closed())

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            self._jobs.put(None)
        self._thread.join()

    def _main(self) -> None:
        try:
            self._connection.open()
        except BaseException as error:  # handed to start(), which raises it in the caller
            self._ready.put(error)
            return
        self._ready.put(None)
        try:
            is_open, idle_s = True, None
            while is_open:
                batch, is_open = self._next_batch(idle_s)
                if batch:
                    self._execute(batch)
                if is_open:
                    idle_s = self._connection.idle(is_busy=True)
        finally:
            self._fail_queued()
            self._connection.close()

    def _execute(self, batch: Sequence[Job]) -> None:
        """Run the batch; an error of the connection itself reaches every caller."""
        try:
            self._connection.execute(batch)
        except BaseException as error:  # delivered to the callers
            _fail(batch, error)
        else:
            _settle(batch)

    def _fail_queued(self) -> None:
        """Accept no more jobs, and fail those that the thread leaves undone."""
        with self._lock:
            self._is_stopped = True
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    _fail([job], _closed())

    def _first_job(self, idle_s: float | None) -> Job | None:
        try:
            return self._jobs.get(timeout=idle_s)
        except queue.Empty:
            self._connection.idle(is_busy=False)
            return self._jobs.get()

    def _next_batch(self, idle_s: float | None) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        job = self._first_job(idle_s)
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
        with contextlib.suppress(RuntimeError):  # that loop is closed
            loop.call_soon_threadsafe(_settle_all, jobs)


def _settle_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()


def _run_in_savepoint(connection: sqlite3.Connection, job: Job) -> None:
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except BaseException as error:
        if isinstance(error, sqlite3.Error) and translate(error) is not error:
            raise  # a disk error fails the whole batch
        job.error = error  # delivered to the caller that awaits the job
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


class _WriterConnection(Connection):
    """The only connection that writes; keeps the file under its name."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        log: WriteAheadLog,
        path: Path,
        reader: Connection,
        quarantine: Path | None,
    ) -> None:
        super().__init__(connect)
        self._log = log
        self._path = path
        self._files = NamedFiles(path)
        self._reader = reader
        self._quarantine = quarantine
        self.put_back = 0  # times that the content was put back under its name
        self.detached: StorageFull | None = None  # why it could not be put back
        self.erasing: Job | None = None  # a call of erase_deleted that waits for idle time

    def execute(self, batch: Sequence[Job]) -> None:
        """Run the batch in one transaction; a job that raises undoes only itself."""
        connection = None
        try:
            self._ensure_named()
            connection = self.sqlite
            connection.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:  # needs no savepoint
                batch[0].result = batch[0].work(connection)
            else:
                for job in batch:
                    _run_in_savepoint(connection, job)
            connection.execute("COMMIT")
            self._ensure_named()  # again: a commit to a nameless file is lost at the next start
            self._files.remember_sizes()
        except BaseException as error:  # delivered to every caller of the batch
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            for job in batch:
                job.error = translate(error) if isinstance(error, sqlite3.Error) else error

    def idle(self, *, is_busy: bool) -> float | None:
        """Checkpoint after the callers have their answers; see :class:`WriteAheadLog`."""
        if not self.is_open or not self._files.are_in_place():
            return None  # the next write puts the content back
        try:
            return self._checkpoint(is_busy=is_busy)
        finally:
            self._files.remember_sizes()

    def _checkpoint(self, *, is_busy: bool) -> float | None:
        if self.erasing is not None and not is_busy:
            job, self.erasing = self.erasing, None
            job.result = self._log.erase_deleted(self.sqlite)
            _settle([job])
        idle_s = self._log.checkpoint_if_due(self.sqlite, is_busy=is_busy)
        return idle_s if self.erasing is None else CHECKPOINT_IDLE_S

    def close(self) -> None:
        """Checkpoint, so that a single file remains under its name."""
        if self.is_open:
            with contextlib.suppress(StorageFull):  # logged; nothing more can be done
                self._ensure_named()
            self._log.close(self.sqlite)
        super().close()

    def open(self) -> None:
        """Connect, and take the files of the names for ours."""
        super().open()
        self._files.remember()

    def _ensure_named(self) -> None:
        """Put the content back if another program deleted or replaced a file.

        Raises StorageFull when that is not possible.
        """
        if not self.is_open:
            self.open()
        if self._files.are_in_place():
            self.detached = None
            return
        try:
            if not self._files.is_same_folder():
                raise FileNotFoundError(errno.ENOENT, "its folder is gone or was replaced")
            if self._files.is_cut():
                raise OSError(errno.EIO, "another program has cut it")
            self._put_back()
        except (OSError, sqlite3.Error) as error:
            if self.detached is None:
                _log.critical("%s lost its name and cannot be put back", self._path.name)
            self.detached = lost_name_error(self._path, error)
            raise self.detached from error
        self.detached, self.put_back = None, self.put_back + 1
        _log.error("%s was deleted or replaced; its content is back", self._path.name)

    def _put_back(self) -> None:
        """Copy the content to a new file and give it the name; a crash in between is harmless."""
        whole = beside(self._path, RESCUED)
        with self._reader.lock, copying:
            copy_whole(self.sqlite, whole)
            if not self._files.holds_all(whole):  # the nameless file was cut
                whole.unlink()
                raise OSError(errno.EIO, "another program has cut it")
            self._files.clear_names(self._quarantine)
            whole.rename(self._path)
            sync_folder(self._path.parent)
            # Close both before the new file is opened: the last close of the old file deletes its
            # logs by name.
            was_reading = self._reader.is_open
            self._reader.close()
            Connection.close(self)
            self.open()
            if was_reading:
                self._reader.open()


class Store(Protocol):
    """The read and write calls of a :class:`Database` or a cache."""

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction."""

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on the query-only connection."""


class Database:
    """A SQLite file with a writer and a reader. Use :meth:`open`, later :meth:`close`."""

    def __init__(
        self, path: Path, connection: _WriterConnection, writer: Executor, reader: Executor
    ) -> None:
        """Use :meth:`open`."""
        self.path = path
        self._writer_connection = connection
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
        busy_timeout_s: float = 5.0,
        checkpoint_idle_s: float = CHECKPOINT_IDLE_S,
        damaged_text: Literal["refused", "replaced"] = "refused",
        quarantine: Path | None = None,
        make_executor: ExecutorFactory = ConnectionThread,
    ) -> Database:
        """Open or create ``path``, migrate its schema to ``steps``, start the threads.

        ``busy_timeout_s``: how long a write waits for another program that locks the file.
        ``checkpoint_idle_s``: seconds without a write before a checkpoint. ``damaged_text``:
        a job that reads text other than UTF-8 fails, or gets U+FFFD for the broken bytes.
        ``quarantine``: the folder for files that another program puts in this one's place.

        Raises SchemaTooNew when a newer program wrote it, StorageFull when the disk refuses, and
        sqlite3.DatabaseError when the file is damaged.
        """

        def connected(*, query_only: bool) -> sqlite3.Connection:
            connection = connect(path, synchronous, busy_timeout_s, query_only=query_only)
            if damaged_text == "replaced":
                connection.text_factory = readable
            return connection

        def writing() -> sqlite3.Connection:
            try:
                return migrated(connected(query_only=False), name, steps)
            except sqlite3.OperationalError as error:
                raise translate(error) from error

        reading = Connection(lambda: connected(query_only=True))
        log = WriteAheadLog(path, checkpoint_idle_s)
        connection = _WriterConnection(writing, log, path, reading, quarantine)
        writer = make_executor(f"{name}-writer", connection)
        writer.start()
        reader = make_executor(f"{name}-reader", reading)
        try:
            reader.start()
        except BaseException:
            writer.stop()
            raise
        return cls(path, connection, writer, reader)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction; return its result once it is committed and synced."""
        return await self._submit(self._writer, work)

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on the query-only connection; it sees every write answered before."""
        return await self._submit(self._reader, work)

    @property
    def put_back(self) -> int:
        """How often another program deleted or replaced the file and its content was put back."""
        return self._writer_connection.put_back

    async def verify(self) -> None:
        """Put the content back if the file lost its name. Raises StorageFull when it cannot."""
        await self.write(lambda _: None)

    async def erase_deleted(self) -> bool:
        """Remove every trace of deleted rows from file and log, at the next idle moment.

        Returns False when another connection still reads an older state, or on a disk error.
        """
        job = Job(lambda _: None, asyncio.get_running_loop())
        self._writer_connection.erasing = job
        await self.write(lambda _: None)  # the connection idles after every batch
        return bool(await job.future)

    async def _submit(self, executor: Executor, work: Work[T]) -> T:
        job = Job(work, asyncio.get_running_loop())
        executor.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Run the queued jobs, checkpoint, stop both threads. Call once."""
        self._reader.stop()
        self._writer.stop()
