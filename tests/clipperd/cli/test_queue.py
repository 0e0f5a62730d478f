"""``queue`` and its verbs, with and without a daemon."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from clipperd.content import chunks
from clipperd.content.convert import Prepared
from clipperd.model import Position, Scope
from clipperd.outbox import accept
from clipperd.outbox import offline as outbox_peek
from clipperd.outbox.records import Draft, Target
from clipperd.outbox.schema import OUTBOX_STEPS
from clipperd.session.schema import SESSION_STEPS
from tests.clipperd.cli.commands import clipperd, run
from tests.clipperd.fake_daemon import OTHER, PAGE, FakeDaemon, running


async def test_an_empty_queue_says_so(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "queue")
    assert (result.code, result.out) == (0, "No clips are waiting.\n")


async def test_the_list_points_to_what_needs_a_person(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.delivers = False
    async with running(tmp_path, fake):
        await clipperd(tmp_path, "clip", "--page", PAGE, stdin=b"x")
        result = await clipperd(tmp_path, "queue", "list")
    assert "needs attention" in result.out
    assert "clipperd queue show ID" in result.out


async def test_showing_a_clip_prints_the_commands_of_its_actions(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.delivers = False
    async with running(tmp_path, fake):
        await clipperd(tmp_path, "clip", "--page", PAGE, stdin=b"x")
        result = await clipperd(tmp_path, "queue", "show", "clip-1")
    assert "clipperd queue retry clip-1" in result.out
    assert "clipperd queue cancel clip-1" in result.out
    assert "undo" not in result.out


@pytest.mark.parametrize(
    ("argv", "path", "body"),
    [
        (("retry", "clip-1"), "/v1/clips/clip-1/retry", {}),
        (("cancel", "clip-1", "--delivery", "d"), "/v1/clips/clip-1/cancel", {"delivery_id": "d"}),
        (("undo", "clip-1"), "/v1/clips/clip-1/undo", {}),
        (("resolve", "clip-1", "--as", "resend"), "/v1/clips/clip-1/resolve", {"as": "resend"}),
        (("retry", "--all"), "/v1/queue/retry", {}),
        (("pause", "--for", "30m"), "/v1/queue/pause", {"for_s": 1800}),
        (("pause",), "/v1/queue/pause", {}),
        (("resume",), "/v1/queue/resume", {}),
    ],
)
async def test_each_action_makes_its_request(
    tmp_path: Path, argv: tuple[str, ...], path: str, body: dict[str, object]
) -> None:
    async with running(tmp_path) as fake:
        await clipperd(tmp_path, "clip", "--page", PAGE, stdin=b"x")
        result = await clipperd(tmp_path, "queue", *argv)
    assert result.code == 0
    assert fake.seen[-1] == ("POST", path, body)


@pytest.mark.parametrize("argv", [("retry",), ("retry", "a", "--all"), ("pause", "--for", "soon")])
def test_an_unclear_command_is_a_usage_error(tmp_path: Path, argv: tuple[str, ...]) -> None:
    assert run(tmp_path, "queue", *argv).code == 2


async def test_export_writes_every_clip_with_its_content(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    async with running(tmp_path) as fake:
        for text in (b"one", b"two"):
            await clipperd(tmp_path, "clip", "--page", PAGE, stdin=text)
        fake.clips["clip-2"]["erased"] = True
        result = await clipperd(tmp_path, "queue", "export", str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert result.out == f"2 clips written to {file}.\n"
    assert [line["content"] for line in lines] == [{"format": "markdown", "markdown": "one"}, None]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_export_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    async with running(tmp_path):
        result = await clipperd(tmp_path, "queue", "export", str(tmp_path / "out"))
    assert (result.code, (tmp_path / "out").read_text()) == (2, "mine")


def _outbox(home: Path) -> None:
    """An outbox with a waiting and a delivered clip of the current account, and a stranger's."""
    connection = sqlite3.connect(home / "outbox.db")
    connection.row_factory = sqlite3.Row
    with closing(connection), connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for step in (*OUTBOX_STEPS, *SESSION_STEPS):
            step(connection)
        connection.execute(
            "INSERT INTO account (user_id, email, name, state, is_current, signed_in_at)"
            " VALUES ('me', 'a@b.c', 'A', 'signed_out', 1, 0)"
        )
        for number, user in enumerate(("me", "me", "stranger")):
            blocks = [{"type": "divider", "divider": {}}]
            draft = Draft(
                scope=Scope(user, "w"),
                client_id="c",
                targets=[Target(Position(), page_id=PAGE)],
                accepted=b"{}",
                prepared=Prepared("markdown", f"Clip {number}", "preview", blocks, False, []),
                plan=chunks.plan(blocks),
            )
            accept.accept(connection, draft, clip_id=f"clip-{number}", ids=[f"d{number}"], now=1e9)
        connection.execute("UPDATE delivery SET state = 'delivered' WHERE id = 'd0'")


def test_with_the_daemon_down_the_queue_is_read_from_its_file(tmp_path: Path) -> None:
    _outbox(tmp_path)
    result = run(tmp_path, "queue", "list", "--json")
    assert result.code == 0
    assert [c["id"] for c in json.loads(result.out)["items"]] == ["clip-1"]
    assert "clipperd is not running" in result.err


def test_without_a_daemon_a_clip_is_shown_and_exported_in_the_daemons_shape(
    tmp_path: Path,
) -> None:
    _outbox(tmp_path)
    listed = json.loads(run(tmp_path, "queue", "list", "--json").out)["items"][0]
    shown = json.loads(run(tmp_path, "queue", "show", "clip-1", "--json").out)
    assert listed == shown
    assert {"version", "summary", "priority", "deliveries"} <= set(shown)
    assert "actions" in shown["deliveries"][0]
    assert run(tmp_path, "queue", "show", "clip-2").code == 1  # another account's
    exported = run(tmp_path, "queue", "export", "-").out.splitlines()
    assert [json.loads(line)["id"] for line in exported] == ["clip-1", "clip-0"]
    assert "clipperd is not running" in run(tmp_path, "queue", "retry", "clip-1").err


def test_without_a_daemon_the_account_is_shown(tmp_path: Path) -> None:
    _outbox(tmp_path)
    result = run(tmp_path, "whoami", "--json")
    assert (result.code, json.loads(result.out)["state"]) == (1, "signed_out")


def test_the_history_can_be_read_from_the_file_too(tmp_path: Path) -> None:
    _outbox(tmp_path)
    result = run(tmp_path, "queue", "list", "--all")
    assert "Clip 0" in result.out
    assert "Clip 1" in result.out
    assert "Clip 2" not in result.out


def test_status_counts_what_waits_while_it_is_down(tmp_path: Path) -> None:
    _outbox(tmp_path)
    result = run(tmp_path, "status")
    assert result.code == 1
    assert "1 clip on disk will be delivered after a@b.c signs in." in result.out
    assert "1 clip of stranger waits for that account." in result.out
    listed = run(tmp_path, "queue", "list", "--all-accounts", "--json")
    assert [c["id"] for c in json.loads(listed.out)["items"]] == ["clip-2", "clip-1"]


def test_without_an_outbox_there_is_nothing_to_peek_at(tmp_path: Path) -> None:
    assert outbox_peek.waiting(tmp_path / "outbox.db") is None


def test_a_foreign_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    assert outbox_peek.waiting(tmp_path / "outbox.db") is None


async def _stored(home: Path, fake: FakeDaemon) -> None:
    await clipperd(home, "clip", "--page", PAGE, stdin=b"x")
    fake.clips["clip-1"] |= {"version": 3}


async def test_a_clip_is_sent_to_another_page(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        await _stored(tmp_path, fake)
        argv = ("queue", "retarget", "@last", "--page", OTHER, "--start")
        result = await clipperd(tmp_path, *argv)
    assert result.code == 0
    _, path, body = fake.seen[-1]
    assert path == "/v1/clips/clip-1/retarget"
    assert body["delivery_id"] == "d1"
    assert body["target"] == {"page_id": OTHER, "position": {"type": "start"}}


async def test_the_content_of_an_unsent_clip_is_replaced(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        await _stored(tmp_path, fake)
        result = await clipperd(tmp_path, "queue", "edit", "clip-1", "-", stdin=b"better")
    assert result.code == 0
    assert fake.seen[-1][0] == "PATCH"
    assert fake.seen[-1][2] == {"content": {"format": "markdown", "markdown": "better"}}


async def test_a_clip_is_opened_and_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        await _stored(tmp_path, fake)
        fake.clips["clip-1"]["deliveries"][0]["page_id"] = PAGE
        opened = await clipperd(tmp_path, "queue", "open", "@last")
        deleted = await clipperd(tmp_path, "queue", "delete", "@last")
    assert opened.opened == (f"https://www.notion.so/{PAGE.replace('-', '')}",)
    assert deleted.code == 0
    assert fake.seen[-1][:2] == ("DELETE", "/v1/clips/clip-1")


async def test_the_beginning_of_an_id_is_enough_unless_several_begin_so(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        await _stored(tmp_path, fake)
        one, two = "abcd1" + "0" * 27, "abcd2" + "0" * 27
        fake.clips = {each: fake.clips["clip-1"] | {"id": each} for each in (one, two)}
        assert (await clipperd(tmp_path, "queue", "show", "abcd1")).code == 0
        assert fake.seen[-1][1] == f"/v1/clips/{one}"
        result = await clipperd(tmp_path, "queue", "show", "abcd")
    assert result.code == 2
    assert one in result.err
