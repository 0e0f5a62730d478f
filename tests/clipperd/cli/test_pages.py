"""``pages`` and ``outline``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clipperd.cli.commands import clipperd, run
from tests.clipperd.fake_daemon import PAGE, FakeDaemon, running


async def test_pages_are_listed_with_path_and_id(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "pages")
    first = next(line for line in result.out.splitlines() if PAGE in line)
    assert first.split("  ")[0] == "Reading list"
    assert "Home" in first


async def test_a_search_passes_its_text_on(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        await clipperd(tmp_path, "pages", "list", "--limit", "5", "--remote")
    assert fake.seen[-1][1] == "/v1/pages?q=list&limit=5&remote=1"


async def test_no_match_says_how_to_go_on(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "pages", "zzz")
    assert result.out == "No page matches. Search Notion with --remote.\n"


def test_remote_needs_a_text(tmp_path: Path) -> None:
    assert run(tmp_path, "pages", "--remote").code == 2


async def test_a_title_cannot_drive_the_terminal(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.pages[0]["title"] = "evil\x1b[2J\x1b]0;owned\x07\u202etitle\nnext"
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "pages")
    assert not {"\x1b", "\x07", "\u202e"} & set(result.out)
    assert "title next" in result.out


async def test_json_is_what_the_daemon_said(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "pages", "--json")
    assert json.loads(result.out)["items"][0]["id"] == PAGE


async def test_the_outline_is_indented_by_level(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "outline", "Reading list", "--freshness", "cached")
    assert result.out.splitlines()[:2] == [
        "Reading list",
        "    To read  22222222-2222-4222-8222-222222222222",
    ]
    assert fake.seen[-1][1] == f"/v1/pages/{PAGE}/outline?freshness=cached"
