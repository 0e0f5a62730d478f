"""``clip``: its input, target, position and output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clipperd.cli.commands import clipperd, run
from tests.clipperd.fake_daemon import OTHER, PAGE, FakeDaemon, running

BARE = PAGE.replace("-", "")


def _sent(fake: FakeDaemon) -> dict[str, Any]:
    body = next(b for method, path, b in fake.seen if (method, path) == ("POST", "/v1/clips"))
    assert isinstance(body, dict)
    return body


async def test_a_markdown_file_goes_to_the_end_of_a_section(tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text("# Höhe\n", encoding="utf-8")
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "clip", "--page", PAGE, "--end-of", "To read", str(file))
    assert result.code == 0
    position = {"type": "end_of_section", "heading": {"text": "To read"}}
    assert _sent(fake)["targets"] == [{"page_id": PAGE, "position": position}]
    assert _sent(fake)["content"] == {"format": "markdown", "markdown": "# Höhe\n"}
    assert "clip-1" in result.out


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        BARE,
        f"https://www.notion.so/team/Reading-list-{BARE}?pvs=4",
        f"https://www.notion.so/team/{OTHER}?v=1&p={BARE}",
        "reading list",
    ],
)
async def test_a_page_is_named_by_id_address_or_title(tmp_path: Path, page: str) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "clip", "--page", page, stdin=b"hello")
    assert result.code == 0
    assert _sent(fake)["targets"][0]["page_id"] == PAGE


async def test_an_ambiguous_title_lists_the_pages_and_clips_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "clip", "--page", "reading", stdin=b"hello")
    assert result.code == 2
    assert PAGE in result.err
    assert OTHER in result.err
    assert fake.clips == {}


async def test_an_unknown_title_says_how_to_search_further(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "clip", "--page", "nowhere", stdin=b"hello")
    assert result.code == 2
    assert "--remote" in result.err


@pytest.mark.parametrize("heading", [OTHER, f"https://www.notion.so/X-{BARE}#{OTHER}"])
async def test_a_heading_is_named_by_id_too(tmp_path: Path, heading: str) -> None:
    async with running(tmp_path) as fake:
        await clipperd(tmp_path, "clip", "--page", PAGE, "--after", heading, stdin=b"x")
    position = {"type": "after_heading", "heading_id": OTHER}
    assert _sent(fake)["targets"][0]["position"] == position


@pytest.mark.parametrize(
    ("stdin", "content"),
    [
        (b"https://example.org/a\n", {"format": "url", "url": "https://example.org/a"}),
        (b"see https://x.org", {"format": "markdown", "markdown": "see https://x.org"}),
        (b"\xef\xbb\xbfhi", {"format": "markdown", "markdown": "hi"}),
        ("hi".encode("utf-16"), {"format": "markdown", "markdown": "hi"}),
    ],
)
async def test_standard_input_is_recognised(
    tmp_path: Path, stdin: bytes, content: dict[str, str]
) -> None:
    async with running(tmp_path) as fake:
        await clipperd(tmp_path, "clip", "--page", PAGE, "-", stdin=stdin)
    assert _sent(fake)["content"] == content


async def test_blocks_come_from_a_json_file(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_text('{"children": [{"type": "divider", "divider": {}}]}')
    async with running(tmp_path) as fake:
        await clipperd(tmp_path, "clip", "--page", PAGE, str(file))
    blocks = [{"type": "divider", "divider": {}}]
    assert _sent(fake)["content"] == {"format": "blocks", "blocks": blocks}


@pytest.mark.parametrize(
    ("argv", "stdin", "said"),
    [
        (("page.html",), None, "HTML cannot be clipped"),
        (("a.PNG",), None, "Images cannot be clipped"),
        (("missing.md",), None, "cannot be read"),
        (("--clipboard",), None, "cannot read the clipboard"),
        ((), None, "There is nothing to clip. Name a FILE"),
        ((), b"  \n", "nothing to clip"),
        ((), b"\x89PNG\r\n\xff", "not text in UTF-8"),
        ((), b"a\x00b", "NUL"),
        (("--format", "blocks"), b"{", "not JSON"),
    ],
)
def test_what_cannot_be_clipped_is_said_before_anything_is_sent(
    tmp_path: Path, argv: tuple[str, ...], stdin: bytes | None, said: str
) -> None:
    result = run(tmp_path, "clip", "--page", PAGE, *argv, stdin=stdin)
    assert result.code == 2
    assert said in result.err


async def test_waiting_tells_the_arrival_and_the_calls(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "clip", "--page", PAGE, "--wait", stdin=b"x")
    assert result.code == 0
    assert "Delivered to Reading list (1 call to Notion)." in result.out


async def test_waiting_fails_when_a_person_must_decide(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.delivers = False
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "clip", "--page", PAGE, "--wait", stdin=b"x")
    assert result.code == 1
    assert "heading gone" in result.out
    assert "clipperd queue show clip-1" in result.out


async def test_json_prints_the_clip(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "clip", "--page", PAGE, "--json", stdin=b"x")
    assert json.loads(result.out)["id"] == "clip-1"


async def test_the_daemons_refusal_is_shown_with_its_hint(tmp_path: Path) -> None:
    fake = FakeDaemon()
    problem = {"code": "not_signed_in", "detail": "Nobody is signed in.", "hint": "Sign in."}
    fake.refuse["/v1/clips"] = (409, problem)
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "clip", "--page", PAGE, stdin=b"x")
    assert (result.code, result.err) == (
        1,
        "clipperd: Nobody is signed in.\n  Sign in with: clipperd login\n",
    )


def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    result = run(tmp_path, "clip", "--page", PAGE, "--no-start", stdin=b"x")
    assert result.code == 1
    assert "clipperd start" in result.err


def test_without_a_daemon_it_starts_one(tmp_path: Path) -> None:
    try:
        result = run(tmp_path, "clip", "--page", PAGE, stdin=b"x", env=dict(os.environ))
        assert "It runs now: http://127.0.0.1:" in result.err
        assert "No account has signed in" in result.err
    finally:
        assert run(tmp_path, "stop").code == 0


async def test_files_and_addresses_are_one_clip_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("# A", "utf-8")
    address = "https://example.org/a"
    async with running(tmp_path) as fake:
        await clipperd(tmp_path, "clip", "--page", PAGE, str(file), address, "-", stdin=b"end")
    assert _sent(fake)["content"] == [
        {"format": "markdown", "markdown": "# A"},
        {"format": "url", "url": address},
        {"format": "markdown", "markdown": "end"},
    ]


async def test_a_clip_that_is_waited_for_goes_first(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        await clipperd(tmp_path, "clip", "--page", PAGE, "--wait", stdin=b"x")
    assert _sent(fake)["priority"] == "high"


async def test_what_is_stored_while_nothing_leaves_says_why_it_waits(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.status = {**fake.status, "connectivity": {"state": "offline"}}
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "clip", "--page", PAGE, stdin=b"x")
    assert "It waits: the broker cannot be reached" in result.out


async def test_an_interrupted_wait_says_that_the_clip_is_stored(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.delivers = None
    async with running(tmp_path, fake):
        argv = ["--home", str(tmp_path), "clip", "--page", PAGE, "--wait", "https://example.org"]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "clipperd", *argv, stderr=asyncio.subprocess.PIPE
        )
        await fake.asked_for_clip.wait()
        child.send_signal(signal.SIGINT)
        _, err = await child.communicate()
    assert child.returncode == 130
    assert b"The clip is stored" in err
    assert b"clipperd queue show clip-1" in err


async def test_a_dry_run_prints_blocks_and_losses_and_sends_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "clip", "--page", PAGE, "--dry-run", stdin=b"# A")
    assert json.loads(result.out) == {"blocks": [], "losses": [], "requests": 1}
    assert fake.clips == {}
