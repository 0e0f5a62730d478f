"""A page or a heading is taken by its name, never by a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clipperd.cli.commands import Result, clipperd
from tests.clipperd.fake_daemon import OTHER, PAGE, FakeDaemon, running

THIRD = "33333333-3333-4333-8333-333333333333"


def page(title: str, page_id: str = PAGE) -> dict[str, Any]:
    return {"id": page_id, "title": title, "kind": "page", "path": []}


def heading(text: str, *path: str) -> dict[str, Any]:
    return {"id": OTHER, "text": text, "level": 2, "index": 0, "path": list(path)}


async def clip(home: Path, fake: FakeDaemon, *argv: str, **given: Any) -> Result:
    given = given or {"stdin": b"hello"}
    async with running(home, fake):
        return await clipperd(home, "clip", *argv, **given)


def targets(fake: FakeDaemon) -> list[dict[str, Any]]:
    return [body["targets"][0] for _, path, body in fake.seen if path == "/v1/clips"]


@pytest.mark.parametrize(
    ("given", "title"), [("Brad", "Bread"), ("Lunch plan", "Launch plan"), ("Octber", "October")]
)
async def test_a_typing_error_clips_nothing(tmp_path: Path, given: str, title: str) -> None:
    fake = FakeDaemon()
    fake.similar = [page(title)]
    result = await clip(tmp_path, fake, "--page", given)
    assert result.code == 2
    assert title in result.err
    assert PAGE in result.err
    assert targets(fake) == []


async def test_fuzzy_takes_the_best_match(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.similar = [page("Bread"), page("Brand", OTHER)]
    assert (await clip(tmp_path, fake, "--page", "Brad", "--fuzzy")).code == 0
    assert targets(fake)[0]["page_id"] == PAGE


async def test_a_terminal_asks(tmp_path: Path) -> None:
    fake, file = FakeDaemon(), tmp_path / "note.md"
    file.write_text("hello", "utf-8")
    fake.similar = [page("Bread"), page("Brand", OTHER)]
    result = await clip(tmp_path, fake, "--page", "Brad", str(file), typed=b"2\n")
    assert result.code == 0
    assert targets(fake)[0]["page_id"] == OTHER


@pytest.mark.parametrize("typed", [b"", b"\n", b"3\n", b"0\n", b"Bread\n"])
async def test_a_terminal_without_a_choice_clips_nothing(tmp_path: Path, typed: bytes) -> None:
    fake, file = FakeDaemon(), tmp_path / "note.md"
    file.write_text("hello", "utf-8")
    fake.similar = [page("Bread"), page("Brand", OTHER)]
    result = await clip(tmp_path, fake, "--page", "Brad", str(file), typed=typed)
    assert (result.code, targets(fake)) == (2, [])


@pytest.mark.parametrize("given", ["CAFÉ", "cafe", "Café menu", "menu"])
async def test_case_accents_beginnings_and_words_are_taken(tmp_path: Path, given: str) -> None:
    fake = FakeDaemon()
    fake.pages, fake.similar = [], [page("Café menu"), page("Decaf", OTHER)]
    assert (await clip(tmp_path, fake, "--page", given)).code == 0
    assert targets(fake)[0]["page_id"] == PAGE


async def test_a_beginning_in_an_incomplete_list_is_looked_up_at_notion(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.pages, fake.is_complete = [page("Inbox archive 2019")], False
    fake.remote = [page("Inbox", OTHER)]
    assert (await clip(tmp_path, fake, "--page", "Inbox")).code == 0
    assert targets(fake)[0]["page_id"] == OTHER


async def test_a_beginning_is_not_taken_while_notion_cannot_be_asked(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.pages, fake.is_complete = [page("Inbox archive 2019")], False
    fake.remote_state = "unreachable"
    result = await clip(tmp_path, fake, "--page", "Inbox")
    assert (result.code, targets(fake)) == (2, [])
    assert "Inbox archive 2019" in result.err


@pytest.mark.parametrize(
    "given", [f"notion://www.notion.so/X-{PAGE.replace('-', '')}", f" {PAGE} ", f"notion.so/{PAGE}"]
)
async def test_addresses_of_every_form_are_no_titles(tmp_path: Path, given: str) -> None:
    fake = FakeDaemon()
    assert (await clip(tmp_path, fake, "--page", given)).code == 0
    assert targets(fake)[0]["page_id"] == PAGE


async def test_a_misspelt_heading_clips_nothing_and_lists_the_nearest(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.headings = [heading("Notes", "Later"), heading("To read")]
    result = await clip(tmp_path, fake, "--page", PAGE, "--end-of", "Nots")
    assert result.code == 2
    assert "Later / Notes" in result.err
    assert targets(fake) == []


@pytest.mark.parametrize("given", ["Later / Notes", "later / NOTES"])
async def test_a_path_names_one_of_several_headings(tmp_path: Path, given: str) -> None:
    fake = FakeDaemon()
    fake.headings = [heading("Notes", "Later"), heading("Notes", "Now"), heading("Later")]
    assert (await clip(tmp_path, fake, "--page", PAGE, "--after", given)).code == 0
    named = {"heading": {"text": "Notes", "path": ["Later"]}}
    assert targets(fake)[0]["position"] == {"type": "after_heading", **named}


async def test_an_outline_is_not_guessed_either(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.similar = [page("Bread")]
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "outline", "Brad", stdin=b"")
    assert result.code == 2
    assert "Bread" in result.err
