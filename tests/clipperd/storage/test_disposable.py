"""cache.db in any state: the daemon starts, clips, and fills it again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.storage.database import Connection, ConnectionThread
from clipperd.storage.disposable import open_cache
from cloud_broker.sandbox.seed import READING_LIST
from tests.clipperd.storage.damage import AT_LAST, WHILE_RUNNING, WHILE_STOPPED, checkpoint, held
from tests.security.whole_system import Daemon, WholeSystem, a_house

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[WholeSystem]:
    async with a_house(tmp_path) as running:
        yield running


async def works(daemon: Daemon, text: str) -> None:
    """Check that a clip reaches its page, an outline is shown, and the page index is complete."""
    clip = await daemon.clip(READING_LIST, text, source={"app": "test"})
    assert (await daemon.settled(clip["id"]))["state"] == "delivered"
    status, _, outline = await daemon.call("GET", f"/v1/pages/{READING_LIST}/outline")
    assert (status, outline["page_id"]) == (200, READING_LIST)
    found: list[str] = []
    while READING_LIST not in found:  # the damage may be felt by the search alone
        await daemon.indexed()
        status, _, listed = await daemon.call("GET", "/v1/pages?q=reading")
        assert status == 200
        found = [page["id"] for page in listed["items"]]
    status, _, shown = await daemon.call("GET", "/v1/status")
    assert (status, shown["queue"]["needs_attention"], shown["queue"]["failed"]) == (200, 0, 0)


async def kept(daemon: Daemon) -> dict[str, int]:
    """Return the rows of the queue, once the use of the page is counted after the delivery."""
    rows = await daemon.rows()
    return {table: rows[table] for table in ("clip", "delivery", "content", "receipt", "account")}


def is_whole(path: Path) -> bool:
    """Return whether the closed file is sound and has the current schema."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        sound = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        known = connection.execute("SELECT count(*) FROM page").fetchone()[0]
    return bool(sound and known > 0)


async def test_a_cache_in_any_state_at_the_start_is_recreated(house: WholeSystem) -> None:
    chance, queue = Random(27), {"clip": 0}
    for name, damage in [("new", lambda *_: None), *WHILE_STOPPED.items()]:
        path = house.folder / "home" / "cache.db"
        damage(path, chance)
        async with house.daemon() as daemon:
            assert queue in (await kept(daemon), {"clip": 0}), name
            await daemon.sign_in()
            await works(daemon, name)
            queue = await kept(daemon)
            assert daemon.places.cache == path
        assert is_whole(path), name


@pytest.mark.parametrize("last", AT_LAST)
async def test_a_damaged_cache_is_recreated_under_a_running_daemon(
    house: WholeSystem, last: str
) -> None:
    chance = Random(last)
    damages = list(WHILE_RUNNING.items())
    chance.shuffle(damages)
    damages.append((last, AT_LAST[last]))
    recreated: list[str] = []
    async with house.daemon() as daemon:
        await daemon.sign_in()
        fill = daemon.cache.on_recreated

        def tell() -> None:
            recreated.append(name)
            fill()

        daemon.cache.on_recreated = tell
        for name, damage in damages:
            checkpoint(daemon.places.cache)
            damage(daemon.places.cache, chance)
            await works(daemon, name)
        path = daemon.places.cache
    assert {"empty", "noise", "noisy_head", "noisy_pages", "lacks_a_table"} <= set(recreated)
    async with house.daemon() as daemon:
        await daemon.sign_in()
        await works(daemon, "at last")
    assert is_whole(path)


@pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
async def test_a_cache_locked_by_another_program_delays_no_clip(
    house: WholeSystem, mode: str
) -> None:
    async with house.daemon() as daemon:
        await daemon.sign_in()
        path = daemon.places.cache
        if mode == "NORMAL":
            with held(path, mode):
                clip = await daemon.clip(READING_LIST, "while it is held")
                assert (await daemon.settled(clip["id"]))["state"] == "delivered"
                for asked in ("/v1/pages", f"/v1/pages/{READING_LIST}/outline", "/v1/status"):
                    assert (await daemon.call("GET", asked))[0] == 200
            await works(daemon, "let go")
    with held(path, mode):
        async with house.daemon() as daemon:
            await daemon.sign_in()
            clip = await daemon.clip(READING_LIST, "started meanwhile")
            assert (await daemon.settled(clip["id"]))["state"] == "delivered"


def titles(connection: sqlite3.Connection) -> list[str]:
    return [title for (title,) in connection.execute("SELECT title FROM page")]


def damage_a_title(connection: sqlite3.Connection) -> None:
    """Break a text like a flipped bit does; no check of the file detects it."""
    connection.execute(
        "INSERT INTO page (user_id, workspace_id, page_id, kind, title, folded, last_edited_time,"
        " access, checked_at) VALUES ('u', 'w', 'p', 'page', CAST('Tit' || x'ec' || 'e' AS TEXT),"
        " '', '', 'ok', 0)"
    )


async def test_a_cache_with_unreadable_text_is_recreated(tmp_path: Path) -> None:
    recreated: list[bool] = []
    cache = open_cache(tmp_path / "cache.db", CACHE_STEPS)
    cache.on_recreated = lambda: recreated.append(True)
    async with asyncio.timeout(60):
        for ask in (cache.read, cache.write):
            await cache.write(damage_a_title)
            assert await ask(titles) == []
    assert len(recreated) == 2
    cache.close()


class Stopping(ConnectionThread):
    """Reports its stop."""

    told = threading.Event()

    def stop(self) -> None:
        self.told.set()
        super().stop()


async def test_a_call_during_a_replacement_is_answered_by_the_new_cache(
    tmp_path: Path,
) -> None:
    Stopping.told.clear()
    cache = open_cache(tmp_path / "cache.db", CACHE_STEPS, make_executor=Stopping)
    begun = threading.Event()

    def slow(connection: sqlite3.Connection) -> list[str]:
        if not begun.is_set():
            begun.set()
            Stopping.told.wait(60)
            raise LookupError("what the old file held")
        return titles(connection)

    async with asyncio.timeout(60):
        late = asyncio.create_task(cache.read(slow))
        await asyncio.to_thread(begun.wait, 60)
        await cache.write(damage_a_title)
        assert await cache.write(titles) == []
        assert await late == []
    cache.close()


async def test_a_closed_cache_is_not_recreated(tmp_path: Path) -> None:
    cache = open_cache(tmp_path / "cache.db", CACHE_STEPS)
    await cache.write(lambda c: c.execute("CREATE TABLE mark (n INTEGER)").rowcount)
    cache.close()
    async with asyncio.timeout(60):
        with pytest.raises(sqlite3.ProgrammingError):
            await cache.read(titles)
    with contextlib.closing(sqlite3.connect(tmp_path / "cache.db")) as connection:
        assert connection.execute("SELECT count(*) FROM mark").fetchone() == (0,)


async def test_clips_continue_without_a_cache_that_cannot_be_recreated(house: WholeSystem) -> None:
    refuses = [False]

    def make_executor(name: str, connection: Connection) -> ConnectionThread:
        if refuses[0] and name.startswith("cache"):
            raise OSError(errno.EROFS, "Read-only file system")
        return ConnectionThread(name, connection)

    async with house.daemon(make_executor=make_executor) as daemon:
        await daemon.sign_in()
        heading = (await daemon.call("GET", f"/v1/pages/{READING_LIST}/outline"))[2]["headings"][0]
        section = {"type": "end_of_section", "heading_id": heading["id"]}
        refuses[0] = True
        checkpoint(daemon.places.cache)
        WHILE_RUNNING["noise"](daemon.places.cache, Random(1))
        for position in ({"type": "end"}, section, section):
            target = {"page_id": READING_LIST, "position": position}
            clip = await daemon.clip(READING_LIST, "without a cache", targets=[target])
            assert (await daemon.settled(clip["id"]))["state"] == "delivered"
        asked = f"/v1/pages/{READING_LIST}/outline"
        assert (await daemon.call("GET", asked))[2]["headings"][0]["id"] == heading["id"]
        status, _, refused = await daemon.call("GET", "/v1/pages")
        assert (status, refused["code"]) == (507, "storage_full")
        refuses[0] = False
        assert (await daemon.call("POST", "/v1/pages/refresh"))[0] == 200
        await works(daemon, "with one")
