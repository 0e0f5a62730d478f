"""A damaged queue: it opens without a question, keeps the readable clips, and sends none twice."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from pathlib import Path
from random import Random

import pytest

from clipperd.errors import StorageFull
from clipperd.outbox import views
from clipperd.storage.recovery import latest_report
from tests.clipperd.storage.recovery.damaged_home import CLIPS, NOW, DamagedHome, no_growth, rescued


def test_a_sound_file_is_left_alone(house: DamagedHome) -> None:
    before = house.states()
    house.open().close()
    assert house.states() == before
    assert not house.quarantine.exists()


@pytest.mark.parametrize("seed", range(12))
def test_with_any_damaged_pages_no_clip_is_cut_or_sent_twice(house: DamagedHome, seed: int) -> None:
    chance = Random(seed)
    before, texts = house.states(), house.texts()
    struck = chance.sample(range(2, house.page_count() + 1), chance.choice((1, 2, 5)))

    def damage() -> None:
        for page in struck:
            house.overwrite(page, chance.randbytes(64))

    after = rescued(house, damage)
    for clip, state in after.items():
        assert state in (before[clip], "needs_attention")
    left = house.texts()
    assert {clip: texts[clip] for clip in left} == left
    told = latest_report(house.quarantine)
    assert after == before or told is not None


@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"not a database "])
def test_a_lost_first_page_comes_from_a_backup(house: DamagedHome, filling: bytes) -> None:
    house.backups.make(NOW)
    house.write("UPDATE delivery SET state = 'delivered' WHERE id = 'd-0'")  # since the copy
    before = house.states()
    assert rescued(house, lambda: house.overwrite(1, filling)) == before
    report = latest_report(house.quarantine)
    assert report is not None
    assert (report.from_copy, report.rows["clip"], report.unreadable) == (None, CLIPS, 0)


def test_without_room_for_a_recovery_the_damaged_file_is_left_for_a_later_start(
    house: DamagedHome,
) -> None:
    house.overwrite(house.page_count() // 2, b"\xa5")
    before = house.path.read_bytes()
    with no_growth(house.path), pytest.raises((StorageFull, OSError, sqlite3.OperationalError)):
        house.open()
    assert house.path.read_bytes() == before
    after = rescued(house, lambda: None)
    assert len(after) > CLIPS // 2


def test_without_a_backup_the_damaged_file_is_kept_and_the_queue_starts_empty(
    house: DamagedHome,
) -> None:
    assert rescued(house, lambda: house.overwrite(1, b"\0")) == {}
    report = latest_report(house.quarantine)
    assert report is not None
    kept = house.quarantine / report.quarantine / "outbox.db"
    assert kept.stat().st_size > CLIPS * 2000


def test_a_file_cut_in_half_keeps_the_half_that_is_there(house: DamagedHome) -> None:
    def cut() -> None:
        with house.path.open("r+b") as file:
            file.truncate(house.path.stat().st_size // 2)

    after = rescued(house, cut)
    assert len(after) > CLIPS // 5


@pytest.mark.parametrize("kind", ["empty", "folder", "noise"])
def test_from_a_copy_alone_nothing_is_sent_that_may_have_been(
    house: DamagedHome, kind: str
) -> None:
    house.backups.make(NOW)

    def damage() -> None:
        house.path.unlink()
        if kind == "folder":
            house.path.mkdir()
        else:
            house.path.write_bytes(b"" if kind == "empty" else Random(1).randbytes(9000))

    after = rescued(house, damage)
    assert len(after) == CLIPS
    assert set(after.values()) == {"delivered", "needs_attention"}
    reasons = house.rows("SELECT DISTINCT reason FROM delivery WHERE state = 'needs_attention'")
    assert reasons == [("outcome_unknown",)]
    report = latest_report(house.quarantine)
    assert report is not None
    assert report.from_copy is not None


def test_text_on_a_lost_page_comes_from_the_copy(house: DamagedHome) -> None:
    house.backups.make(NOW)
    texts = house.rows("SELECT clip_seq, accepted, plan FROM content")
    after = rescued(house, lambda: _strike_text(house, 50))
    assert house.rows("SELECT clip_seq, accepted, plan FROM content") == texts
    assert after["clip-50"] == "queued"


def test_a_clip_whose_text_is_lost_needs_attention_and_is_never_sent(house: DamagedHome) -> None:
    after = rescued(house, lambda: _strike_text(house, 50))
    assert after["clip-50"] == "needs_attention"
    reason = house.rows("SELECT reason FROM delivery WHERE id = 'd-50'")
    assert reason == [("content_lost",)]
    plan = house.rows("SELECT plan FROM content JOIN clip ON seq = clip_seq WHERE id = 'clip-50'")
    assert plan == [(b"[]",)]


def _strike_text(house: DamagedHome, number: int) -> None:
    """Damage the page that holds the end of a clip's plan, far from its other data."""
    plan = house.rows(
        "SELECT plan FROM content JOIN clip ON seq = clip_seq WHERE id = ?", f"clip-{number}"
    )[0][0]
    place = house.path.read_bytes().index(plan[-600:-500])
    house.overwrite(1 + place // 4096, b"\xee")


def test_a_log_that_a_crash_left_is_read_too(house: DamagedHome, tmp_path: Path) -> None:
    database = house.open()
    other = DamagedHome(tmp_path / "crashed")
    other.path.parent.mkdir()
    asyncio.run(
        database.write(lambda c: c.execute("UPDATE clip SET title = 'in the log'").rowcount)
    )
    for suffix in ("", "-wal"):  # as a power cut leaves them
        shutil.copyfile(f"{house.path}{suffix}", f"{other.path}{suffix}")
    database.close()
    page = 2 + other.path.stat().st_size // 4096 // 2
    with other.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xbb" * 4096)
    other.open().close()
    other.check()
    assert other.rows("SELECT DISTINCT title FROM clip") == [("in the log",)]


def _flip_a_bit(house: DamagedHome, clip: str) -> None:
    """Damage a title: 'l' becomes 0xec, the first byte of an incomplete character."""
    house.write(
        "UPDATE clip SET title = CAST('Tit' || x'ec' || 'e' AS TEXT) WHERE id = ?",
        clip,
    )


async def test_a_clip_whose_title_is_damaged_is_listed_with_what_is_left_of_it(
    house: DamagedHome,
) -> None:
    _flip_a_bit(house, "clip-3")
    database = house.open()
    async with asyncio.timeout(60):
        for ask in (database.read, database.write):
            found = await ask(lambda c: views.by_seq(c, range(1, CLIPS + 1)))
            assert len(found) == CLIPS
            assert {view.id: view.title for _, view in found}["clip-3"] == "Tit\ufffde"
    database.close()
    assert not house.quarantine.exists()


def test_a_recovery_loses_no_clip_for_one_letter(house: DamagedHome) -> None:
    _flip_a_bit(house, "clip-3")
    before = house.states()
    after = rescued(house, lambda: _strike_text(house, 50))
    assert after == {**before, "clip-50": "needs_attention"}
    assert house.rows("SELECT title FROM clip WHERE id = 'clip-3'") == [("Tit\ufffde",)]


@pytest.mark.parametrize("moment", ["while filling", "before the swap", "in the swap"])
def test_an_interrupted_recovery_is_continued(house: DamagedHome, moment: str) -> None:
    before = house.states()
    whole = house.path.read_bytes()
    made = house.path.with_name("outbox.db.rescued")
    if moment == "while filling":
        house.overwrite(5, b"\xcc")
        house.path.with_name("outbox.db.salvage").write_bytes(b"half")
    else:
        made.write_bytes(whole)
        place = house.quarantine / "20260101T000000Z"
        place.mkdir(parents=True)
        (place / "report.json").write_text(json.dumps({}))
        if moment == "in the swap":
            house.path.unlink()
        else:
            house.overwrite(5, b"\xcc")
    house.open().close()
    house.check()
    if moment != "while filling":
        assert house.states() == before
    assert not made.exists()
    assert not house.path.with_name("outbox.db.salvage").exists()
