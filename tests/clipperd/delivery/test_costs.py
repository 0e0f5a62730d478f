"""The cost of one clip: reads and synced writes of outbox.db, and encodings of its content."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from clipperd.broker.auth import GrantedWorkspace, User
from clipperd.clips.submit import ClipBody, ClipSubmission
from clipperd.pages.directory import Directory
from clipperd.session.accounts import Accounts
from tests.clipperd.delivery.rig import USER, Rig, dispatching
from tests.clipperd.memory_notion import SCOPE, MemoryNotion

MARK = "a sentence of the clip"


async def submission_to(rig: Rig, dispatcher: Any) -> ClipSubmission:
    """The use case over the rig's files, signed in."""
    accounts = Accounts(rig.db, rig.clock)
    await accounts.remember(
        User(id=USER, email="ada@example.com", name="Ada"),
        [GrantedWorkspace(id=SCOPE.workspace_id, name="W", bot_id="bot")],
    )
    await accounts.current()
    return ClipSubmission(rig.outbox, accounts, Directory(rig.cache), dispatcher, rig.clock)


async def post(submission: ClipSubmission, page: str, markdown: str) -> str:
    body = {"targets": [{"page_id": page}], "content": {"format": "markdown", "markdown": markdown}}
    view, _ = await submission.accept(
        msgspec.convert(body, ClipBody), header_workspace=None, client_id="owner", key="key-1"
    )
    return view.id


def counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the jobs of outbox.db from now on; a write is one synced commit."""
    costs: Counter[str] = Counter()
    for name in ("read", "write"):
        plain: Callable[..., Any] = getattr(rig.db, name)

        async def job(work: Any, name: str = name, plain: Callable[..., Any] = plain) -> Any:
            costs[name] += 1
            return await plain(work)

        monkeypatch.setattr(rig.db, name, job)
    return costs


async def test_one_clip_costs_at_most_four_reads_and_three_synced_writes(
    rig: Rig, world: MemoryNotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = world.add_page("Notes")
    async with dispatching(rig) as dispatcher:
        submission = await submission_to(rig, dispatcher)
        await rig.drain()
        costs = counted(rig, monkeypatch)
        delivered = asyncio.Event()

        def observe(kind: str, data: dict[str, Any]) -> None:
            if kind == "clip" and data["state"] == "delivered":
                delivered.set()

        rig.heard.observer = observe
        await post(submission, page, MARK)
        await delivered.wait()
        await dispatcher.at_rest()
    assert world.texts(page) == [MARK]
    assert costs["read"] <= 4
    assert costs["write"] <= 3


async def test_the_delivery_records_the_use_and_the_title_of_its_page(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    clip = await rig.clip(page)
    await rig.pages.refresh(SCOPE)
    await rig.drain()
    listing = await rig.pages.list(SCOPE, "used")
    assert [entry.title for entry in listing.items] == ["Notes"]
    assert (await rig.view(clip)).deliveries[0].page_title == "Notes"


async def test_accepting_a_clip_encodes_its_content_once(
    rig: Rig, world: MemoryNotion, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = world.add_page("Notes")
    idle: Any = type("Idle", (), {"poke": lambda *_, **__: None})()
    submission = await submission_to(rig, idle)
    seen: Counter[str] = Counter()
    encode, dumps = msgspec.json.encode, json.dumps

    def counted_encode(value: Any, **more: Any) -> bytes:
        made = encode(value, **more)
        seen["posted" if b'"markdown"' in made else "blocks"] += made.count(b"nested " + at)
        return made

    def counted_dumps(value: Any, **more: Any) -> str:
        made = dumps(value, **more)
        seen["dumped"] += made.encode().count(b"nested " + at)
        return made

    at = MARK.encode()
    monkeypatch.setattr(msgspec.json, "encode", counted_encode)
    monkeypatch.setattr(json, "dumps", counted_dumps)
    items = [f"{'  ' * (n % 3)}- nested {MARK} {n}" for n in range(300)]
    text = f"# {'A title ' * 40}\n\n{'An opening ' * 40}\n\n" + "\n".join(items)
    await post(submission, page, text)
    assert (seen["posted"], seen["blocks"], seen["dumped"]) == (300, 300, 0)
