"""Half of a clip after salvage: the clip lists its missing parts, and the daemon never guesses."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipperd.content import chunks, convert
from clipperd.errors import NotAllowedNow
from clipperd.model import Position
from clipperd.outbox import actions, lanes, requests, views
from clipperd.outbox.records import Target
from clipperd.outbox.repair import repair_outbox
from clipperd.storage.recovery import RepairResult
from tests.clipperd.storage.recovery.damaged_home import NOW, PAGE, SCOPE, DamagedHome

DAMAGES = [
    '{"type":"e\ufffdd"}',
    '{"typ%":"end"}',
    '{"type":"end"]',
    '{"type":"end","heading":7}',
    "3",
]
LANE = (SCOPE.user_id, SCOPE.workspace_id, PAGE)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The rows of six clips, of which the even ones (by number) are queued."""
    house = DamagedHome(tmp_path)
    house.fill(6)
    connection = sqlite3.connect(house.path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    yield connection
    connection.close()


def mended(outbox: sqlite3.Connection, *, outdated: bool = False) -> RepairResult:
    ids = iter(["new-1", "new-2"])
    return repair_outbox(outbox, outdated=outdated, copy=None, now=NOW, new_id=lambda: next(ids))


def state_of(outbox: sqlite3.Connection, delivery: str) -> tuple[str, str | None]:
    row = outbox.execute("SELECT state, reason FROM delivery WHERE id = ?", (delivery,)).fetchone()
    return row["state"], row["reason"]


def row_of(outbox: sqlite3.Connection, clip: str) -> list[sqlite3.Row]:
    return actions.rows_of(outbox, SCOPE.user_id, clip, None)


def forget_text(outbox: sqlite3.Connection) -> None:
    outbox.execute(
        "DELETE FROM content WHERE clip_seq = (SELECT seq FROM clip WHERE id = 'clip-0')"
    )


def under_way(outbox: sqlite3.Connection, *numbers: int) -> None:
    """Put deliveries into one request, as a crash leaves it."""
    found = outbox.execute(
        f"SELECT seq FROM delivery WHERE id IN ({', '.join('?' * len(numbers))})",
        [f"d-{number}" for number in numbers],
    ).fetchall()
    members = [
        {"delivery": row["seq"], "chunk": 0, "first": place, "count": 1}
        for place, row in enumerate(found)
    ]
    outbox.execute(
        "INSERT INTO request (key, user_id, workspace_id, lane, kind, path, body, parent_id, edge,"
        " level, members, expected, phase, maybe_sent, sent_at) VALUES ('k', ?, ?, ?, 'append',"
        " 'p', x'', ?, 'end', 0, ?, '[]', 'sending', 1, 0)",
        (*LANE, PAGE, json.dumps(members)),
    )
    outbox.executemany(
        "UPDATE delivery SET state = 'sending', request_key = 'k' WHERE seq = ?",
        [(row["seq"],) for row in found],
    )


def test_whole_rows_are_left_as_they_are(outbox: sqlite3.Connection) -> None:
    under_way(outbox, 0, 2)
    assert mended(outbox) == RepairResult(0, 0, 0, ())
    assert [state_of(outbox, f"d-{n}")[0] for n in (0, 1, 2, 4)] == [
        "sending",
        "delivered",
        "sending",
        "queued",
    ]
    assert outbox.execute("SELECT count(*) FROM request").fetchone()[0] == 1


def test_what_was_under_way_without_its_request_is_for_a_person(outbox: sqlite3.Connection) -> None:
    under_way(outbox, 0, 2)
    outbox.execute("DELETE FROM request")
    assert mended(outbox).undecided == 2
    assert state_of(outbox, "d-0") == ("needs_attention", "outcome_unknown")
    assert state_of(outbox, "d-4") == ("queued", None)


def test_a_request_of_which_a_member_is_gone_speaks_for_nobody(outbox: sqlite3.Connection) -> None:
    under_way(outbox, 0, 2)
    outbox.execute("DELETE FROM delivery WHERE id = 'd-2'")
    found = mended(outbox)
    assert (found.undecided, found.without_place) == (1, 1)
    assert state_of(outbox, "d-0") == ("needs_attention", "outcome_unknown")
    assert outbox.execute("SELECT count(*) FROM request").fetchone()[0] == 0


def test_everything_that_waits_in_an_old_copy_is_for_a_person(outbox: sqlite3.Connection) -> None:
    assert mended(outbox, outdated=True).undecided == 3
    assert state_of(outbox, "d-1") == ("delivered", None)
    assert lanes.waiting(outbox, LANE, parked="skip") == []


def test_a_clip_without_a_place_can_be_given_one(outbox: sqlite3.Connection) -> None:
    outbox.execute("DELETE FROM delivery WHERE id = 'd-0'")
    assert mended(outbox).without_place == 1
    assert state_of(outbox, "new-1") == ("needs_attention", "place_lost")
    with pytest.raises(NotAllowedNow):
        actions.retry(outbox, row_of(outbox, "clip-0"), NOW)
    target = Target(Position(), page_id=PAGE)
    actions.retarget(outbox, row_of(outbox, "clip-0")[0], target, (PAGE, None, PAGE), NOW)
    assert state_of(outbox, "new-1") == ("queued", None)


def test_a_clip_without_its_text_can_be_given_it_again(outbox: sqlite3.Connection) -> None:
    outbox.execute(
        "DELETE FROM content WHERE clip_seq = (SELECT seq FROM clip WHERE id = 'clip-0')"
    )
    assert mended(outbox).without_content == 1
    assert state_of(outbox, "d-0") == ("needs_attention", "content_lost")
    with pytest.raises(NotAllowedNow):
        actions.retry(outbox, row_of(outbox, "clip-0"), NOW)
    edited = {"format": "text", "text": "Again."}
    prepared = convert.prepare(edited)
    actions.edit(
        outbox,
        row_of(outbox, "clip-0"),
        version=1,
        now=NOW,
        content=(chunks.encode(edited), prepared, chunks.plan(prepared.blocks)),
        priority=None,
        not_before=None,
    )
    assert state_of(outbox, "d-0") == ("queued", None)


def test_an_unknown_outcome_without_its_text_is_never_sent_again(
    outbox: sqlite3.Connection,
) -> None:
    outbox.execute("UPDATE delivery SET state = 'sending' WHERE id = 'd-0'")
    outbox.execute(
        "DELETE FROM content WHERE clip_seq = (SELECT seq FROM clip WHERE id = 'clip-0')"
    )
    mended(outbox)
    assert state_of(outbox, "d-0") == ("needs_attention", "outcome_unknown")
    actions.resolve(outbox, row_of(outbox, "clip-0"), "resend", NOW)
    assert state_of(outbox, "d-0") == ("needs_attention", "content_lost")


def test_a_last_part_that_is_under_way_needs_no_text(outbox: sqlite3.Connection) -> None:
    under_way(outbox, 0)
    outbox.execute(
        "DELETE FROM content WHERE clip_seq = (SELECT seq FROM clip WHERE id = 'clip-0')"
    )
    mended(outbox)
    assert state_of(outbox, "d-0") == ("sending", None)


def test_text_without_a_clip_is_handed_out(outbox: sqlite3.Connection) -> None:
    outbox.execute("PRAGMA foreign_keys=OFF")
    outbox.execute("DELETE FROM clip WHERE id = 'clip-0'")
    (left,) = mended(outbox).leftover
    assert json.loads(left)["text"].startswith("Clip 0.")
    assert outbox.execute("PRAGMA foreign_key_check").fetchall() == []


def test_turns_go_on_where_they_were(outbox: sqlite3.Connection) -> None:
    outbox.execute("DELETE FROM turn_counter")
    mended(outbox)
    most = outbox.execute("SELECT max(turn) FROM delivery").fetchone()[0]
    assert outbox.execute("SELECT n FROM turn_counter").fetchone()[0] == most


@pytest.mark.parametrize("position", DAMAGES)
def test_a_clip_whose_place_is_damaged_is_listed_and_waits_for_a_person_to_choose_anew(
    outbox: sqlite3.Connection, position: str
) -> None:
    outbox.execute("UPDATE delivery SET position = ?", (position,))
    outbox.execute("UPDATE clip SET source = '{\"app\":'")
    outbox.execute(
        "UPDATE delivery SET block_ids = '[', undo = '{', position_changed = '}' WHERE id = 'd-1'"
    )
    shown, _ = views.page(outbox, SCOPE.user_id, views.Filter(), limit=10, cursor=None)
    assert {(clip.id, clip.state) for clip in shown} >= {
        ("clip-0", "queued"),
        ("clip-1", "delivered"),
    }
    requests.recover(outbox)
    assert state_of(outbox, "d-0") == ("needs_attention", "place_lost")
    assert state_of(outbox, "d-1") == ("delivered", None)
    # An undo that cannot be read does not stop the queue: whatever is left is served.
    assert {lane for lane, _ in lanes.open_lanes(outbox, SCOPE.user_id)} <= {LANE}
    actions.retarget(
        outbox,
        row_of(outbox, "clip-0")[0],
        Target(Position("start"), page_id=PAGE),
        (PAGE, None, PAGE),
        NOW,
    )
    requests.recover(outbox)
    assert state_of(outbox, "d-0") == ("queued", None)


def test_a_page_to_be_created_whose_place_is_damaged_waits_for_a_person_too(
    outbox: sqlite3.Connection,
) -> None:
    outbox.execute("UPDATE delivery SET page_id = NULL, new_page = '{\"title\":' WHERE id = 'd-0'")
    requests.recover(outbox)
    assert state_of(outbox, "d-0") == ("needs_attention", "place_lost")
    assert not row_of(outbox, "clip-0")[0]["new_page"]  # it can be sent to another page


def test_a_clip_with_a_damaged_place_that_may_be_on_its_way_is_left_to_its_request(
    outbox: sqlite3.Connection,
) -> None:
    under_way(outbox, 0)
    outbox.execute("UPDATE delivery SET position = '{'")
    requests.recover(outbox)
    assert state_of(outbox, "d-0") == ("unconfirmed", None)
