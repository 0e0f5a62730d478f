"""A full disk under real programs: writes are refused, reads work, recovery is automatic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.process.errors import ApiError
from tests.clipperd.cli.commands import run
from tests.stack.notion import Page
from tests.stack.small_disk import SmallDisk, narrow_disk
from tests.stack.stack import Stack, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("narrow")


@pytest.fixture(scope="module")
def disk(folder: Path) -> Iterator[SmallDisk]:
    with narrow_disk(folder / "daemon") as made:
        yield made


@pytest.fixture(scope="module")
def stack(folder: Path, disk: SmallDisk) -> Iterator[Stack]:
    assert disk.folder.is_dir()  # there before the daemon is
    with running(folder) as started:
        yield started


def _fill_up(stack: Stack, page: Page, clips: list[dict[str, Any]]) -> None:
    """Clip until it is refused: what the log has room for is taken, and kept."""
    while True:
        n = len(clips) - 3
        clips.append(stack.clip(page.id, f"last {n} " + "x" * 20_000, key=f"last-{n}"))


def test_a_queue_goes_on_by_itself_once_there_is_room_and_nothing_is_doubled(
    stack: Stack, disk: SmallDisk
) -> None:
    page = stack.notion.page("Full", "Above")
    stack.kill_broker()
    clips = [stack.clip(page.id, f"kept {n}", key=f"kept-{n}") for n in range(3)]
    with disk.full(stack.daemon.pid):
        with pytest.raises(ApiError) as refused:
            _fill_up(stack, page, clips)
        assert (refused.value.status, refused.value.code) == (507, "storage_full")
        assert refused.value.hint
        assert len(stack.client.clips()["items"]) == len(clips)
        assert stack.client.pages(q="Reading")["items"]
        stack.open_broker()
        assert stack.client.status()["queue"]["failed"] == 0
    refused_n = len(clips) - 3
    clips.append(stack.clip(page.id, "refused before", key=f"last-{refused_n}"))
    counts = stack.drained()
    assert (counts["delivered"], counts["needs_attention"]) == (len(clips), 0)
    texts = [text.partition(" x")[0] for text in stack.notion.texts(page.id)[1:]]
    assert texts == [f"kept {n}" for n in range(3)] + [f"last {n}" for n in range(refused_n)] + [
        "refused before"
    ]


def test_a_start_on_a_disk_without_room_says_so_changes_nothing_and_succeeds_later(
    stack: Stack, disk: SmallDisk
) -> None:
    stack.client.queue("pause")
    page = stack.notion.page("Start", "Above")
    clip = stack.clip(page.id, "waits")
    env = {**os.environ, **stack.daemon_env}
    for trouble, end in (
        (disk.full, stack.kill_daemon),
        (disk.full, stack.close_daemon),
        (disk.read_only, stack.close_daemon),
    ):
        end()
        with trouble():
            begun = subprocess.run(
                [sys.executable, "-m", "clipperd", "run"], env=env, capture_output=True, check=False
            )
            assert begun.returncode == 5, begun.stderr
            assert begun.stderr.startswith(b"clipperd: clipperd does not start. ")
            assert b"Your queued clips are safe." in begun.stderr
            assert b"then start it again" in begun.stderr
            if (
                disk.is_mounted or end == stack.close_daemon
            ):  # the index of a log needs its old room
                listed = run(stack.home, "queue", "list", "--json", env=env)
                assert [each["id"] for each in json.loads(listed.out)["items"]] == [clip["id"]]
            if trouble == disk.full and end == stack.close_daemon:
                behind = run(stack.home, "start", env=env)
                assert (behind.code, behind.err.startswith("clipperd: ")) == (5, True)
        if end != stack.close_daemon:
            stack.open_daemon()
    stack.open_daemon()
    stack.client.queue("resume")
    stack.drained()
    assert stack.notion.texts(page.id)[1:] == ["waits"]
