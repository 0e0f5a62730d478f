"""The queue's file is damaged under a real daemon: it starts, delivers the rest, and reports it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.stack.stack import running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIPS = 30


def test_a_damaged_queue_starts_without_a_question_and_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        page = stack.notion.page("Damaged", "Above")
        stack.kill_broker()
        for number in range(CLIPS):
            text = f"{number}: " + " ".join(f"word{number}.{n}" for n in range(300))
            stack.clip(page.id, {"format": "text", "text": text})
        stack.kill_daemon()
        file = stack.home / "outbox.db"
        with closing(sqlite3.connect(file)) as connection:  # folds the log back
            plan = connection.execute("SELECT plan FROM content ORDER BY 1").fetchall()[7][0]
        data = bytearray(file.read_bytes())
        start = data.index(plan[-900:-800]) // 4096 * 4096
        data[start : start + 4096] = b"\xee" * 4096
        file.write_bytes(data)

        stack.open_daemon()
        stack.open_broker()
        counts = stack.drained()
        assert counts["delivered"] + counts["needs_attention"] == CLIPS
        assert counts["needs_attention"] >= 1
        first_words = [text.split(":")[0] for text in stack.notion.texts(page.id)[1:]]
        assert first_words == sorted(set(first_words), key=int)
        checks = stack.client.ask("GET", "/v1/health")["checks"]
        check = next(each for each in checks if each["id"] == "queue_rescue")
        assert (check["severity"], "need you" in check["detail"]) == ("warning", True)
