"""The record of an account's writes: the blocks made under each key, also when found later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.clock import rfc3339
from cloud_broker.proxy.keys import (
    REMEMBERED_MS,
    fingerprint,
    first_key,
    forget_at,
    is_same,
    likeness,
)
from cloud_broker.storage.database import Database
from cloud_broker.storage.idempotency import Idempotency, KeyId, Lease
from cloud_broker.web.writes import writes_body
from tests.cloud_broker.proxy.proxy_stage import WORKSPACE, a_database, a_key, an_id

NOW = 1_800_000_000_000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with a_database(tmp_path) as opened:
        yield opened


def who(key: str, user: str = "ada") -> KeyId:
    return KeyId(user, WORKSPACE, key)


async def claimed(database: Database, key: str, *, at: int = NOW, user: str = "ada") -> Idempotency:
    rows = Idempotency(database)
    lease = Lease("broker", at + 10_000, at + 20_000)
    assert await rows.claim(who(key, user), "a.c.whole", lease, at + 90_000_000) is None
    return rows


async def created(rows: Idempotency, user: str = "ada", since: int = 0) -> dict[str, object]:
    return {each.key: each.created for each in await rows.since(user, WORKSPACE, since, 10)}


async def test_a_write_is_told_from_its_beginning_and_with_its_ids_once_they_are_known(
    database: Database,
) -> None:
    rows = await claimed(database, "one")
    assert await created(rows) == {"one": None}
    await rows.done(who("one"), "broker", 200, [an_id(1)])
    assert await created(rows) == {"one": (an_id(1),)}
    assert await created(rows, user="bob") == {}
    assert await created(rows, since=NOW + 60_000) == {}


async def test_the_newest_writes_are_told_first(database: Database) -> None:
    rows = await claimed(database, "k0")
    for n in range(1, 4):
        await claimed(database, f"k{n}", at=NOW + n)
    assert [each.key for each in await rows.since("ada", WORKSPACE, 0, 2)] == ["k3", "k2"]


async def test_what_its_caller_found_out_is_kept_and_the_key_stays_spent(
    database: Database,
) -> None:
    rows = await claimed(database, "one")
    await rows.unknown(who("one"), "broker", status=None, answered=False, latest_sent_at=NOW)
    await rows.settle(who("one", "bob"), [an_id(9)], NOW)
    assert await created(rows) == {"one": None}
    await rows.settle(who("one"), [an_id(1)], NOW)
    await rows.settle(who("one"), [], NOW)
    assert await created(rows) == {"one": (an_id(1),)}
    record = await rows.find(who("one"))
    assert record is not None
    assert record.state == "unknown"


async def test_only_a_write_that_nobody_executes_any_more_can_be_settled(
    database: Database,
) -> None:
    rows = await claimed(database, "one")
    await rows.settle(who("one"), [], NOW + 19_999)
    assert await created(rows) == {"one": None}
    await rows.settle(who("one"), [], NOW + 20_000)
    assert await created(rows) == {"one": ()}


async def test_it_is_told_since_when_no_write_is_missing(database: Database) -> None:
    for n in range(3):
        await claimed(database, f"k{n}", at=NOW + n * 60_000)
    rows = Idempotency(database)
    found = await rows.since("ada", WORKSPACE, 0, 2)
    cut, whole = writes_body(found, 2, NOW / 1000), writes_body(found, 3, NOW / 1000)
    assert (cut["more"], whole["more"]) == (True, False)
    assert cut["from"] == rfc3339((NOW + 60_000 + 10_000) / 1000)
    assert whole["from"] == rfc3339(NOW / 1000 - 8 * 86_400)


def test_what_can_have_been_sent_since_has_no_key_below_the_first() -> None:
    """A key is executed for a day after it was made, or ten minutes before."""
    assert first_key(NOW) <= a_key(NOW - 24 * 3_600_000)
    assert first_key(NOW) > a_key(NOW - 25 * 3_600_000)
    assert first_key(0) <= a_key(0)


def test_a_write_is_remembered_for_as_long_as_is_told() -> None:
    assert forget_at(a_key(NOW), NOW) - NOW > REMEMBERED_MS


def test_what_says_the_same_to_the_same_parent_is_alike_wherever_it_stands() -> None:
    def of(path: str, text: str, after: str) -> str:
        block = {"paragraph": {"rich_text": [{"text": {"content": text}}]}}
        body = {"children": [block], "position": {"after_block": {"id": after}}}
        return fingerprint("PATCH", path, "", body)

    one, other = of("/a", "same", "x"), of("/a", "same", "y")
    assert one != other
    assert likeness(one) == likeness(other)
    assert likeness(of("/a", "else", "x"))[1] != likeness(one)[1]
    assert likeness(of("/b", "same", "x"))[0] != likeness(one)[0]


def test_the_same_words_are_alike_in_every_form() -> None:
    """As programs write one block, so that none can be taken for another's."""
    bare = {"paragraph": {"rich_text": [{"text": {"content": "two words"}}]}}
    full = {
        "type": "paragraph",
        "object": "block",
        "paragraph": {
            "children": [],
            "color": "default",
            "rich_text": [
                {"type": "text", "annotations": {"bold": False}, "text": {"content": "two "}},
                {"type": "text", "text": {"content": "words", "link": None}},
            ],
        },
    }
    prints = [fingerprint("PATCH", "/a", "", {"children": [block]}) for block in (bare, full)]
    assert likeness(prints[0]) == likeness(prints[1])
    assert not is_same(*prints)


def test_each_block_has_words_of_its_own_and_a_page_its_title() -> None:
    def text(words: str) -> dict[str, object]:
        return {"rich_text": [{"text": {"content": words}}]}

    def of(body: dict[str, object]) -> list[str]:
        return likeness(fingerprint("POST", "/a", "", body))[1].split("-")

    one, two = {"paragraph": text("one")}, {"quote": {**text("two"), "children": [text("in")]}}
    assert of({"children": [one, two]}) == of({"children": [one]}) + of({"children": [two]})
    title = {"title": {"title": text("Trip")["rich_text"]}}
    assert of({"properties": title}) == of({"properties": title, "children": [one]})


def test_a_request_is_the_same_by_its_last_hash_alone() -> None:
    """An earlier version's rows bear another hash of the words."""
    now = fingerprint("PATCH", "/a", "", {"children": []})
    address, words, whole = now.split(".")
    assert is_same(now, f"{address}.{words[::-1]}.{whole}")
    assert not is_same(now, f"{address}.{words}.{whole[::-1]}")
