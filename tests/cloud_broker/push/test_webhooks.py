"""The webhook route of Notion: accepted senders and bodies."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud_broker.cli.webhook_token import webhook_token
from cloud_broker.clock import rfc3339
from cloud_broker.errors import NotFound
from tests.cloud_broker.broker_stage import BrokerStage, a_broker
from tests.cloud_broker.push.push_listener import TOKEN, an_event, post
from tests.servers.broker_database import database_url


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as started:
        await started.sign_in()
        yield started


async def rows(stage: BrokerStage) -> list[dict[str, Any]]:
    async with stage.database.reading() as tx:
        return await tx.all("SELECT * FROM webhook_events")


def kept_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_a_genuine_event_is_taken_once(stage: BrokerStage) -> None:
    event = an_event(stage)
    assert await post(stage, event) == (200, {"outcome": "taken"})
    assert await post(stage, event) == (200, {"outcome": "duplicate"})
    assert len(await rows(stage)) == 1


@pytest.mark.parametrize("signature", ["", "sha256=00", "sha256=é", "x" * 64])
async def test_without_its_signature_nothing_is_taken(stage: BrokerStage, signature: str) -> None:
    status, body = await post(stage, an_event(stage), **{"X-Notion-Signature": signature})
    assert (status, body["code"]) == (401, "webhook_unsigned")
    assert await rows(stage) == []


@pytest.mark.parametrize("away_s", [-601, 301])
async def test_an_event_of_another_time_is_dropped(stage: BrokerStage, away_s: float) -> None:
    stamp = rfc3339(stage.clock.now() + away_s)
    status, body = await post(stage, an_event(stage, timestamp=stamp))
    assert (status, body["code"]) == (400, "webhook_stale")
    assert await rows(stage) == []


@pytest.mark.parametrize(
    "changes", [{"workspace_id": "elsewhere"}, {"type": "comment.created"}, {"type": "new.kind"}]
)
async def test_what_concerns_nobody_is_acknowledged_and_not_kept(
    stage: BrokerStage, changes: dict[str, str]
) -> None:
    assert await post(stage, an_event(stage, **changes)) == (200, {"outcome": "ignored"})
    assert await rows(stage) == []


async def test_a_signed_body_of_another_form_is_refused(stage: BrokerStage) -> None:
    status, body = await post(stage, {"id": 1})
    assert (status, body["code"]) == (400, "invalid_input")


async def test_a_handshake_is_refused_unless_one_is_pending(stage: BrokerStage) -> None:
    status, body = await post(
        stage, {"verification_token": "secret_new"}, **{"X-Notion-Signature": ""}
    )
    assert (status, body["code"]) == (401, "webhook_unsigned")


async def test_a_pending_handshake_is_kept_sealed_and_signs_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with a_broker(tmp_path, BROKER_WEBHOOK_PENDING="1") as stage:
        await stage.sign_in()
        status, _ = await post(stage, an_event(stage))
        assert status == 404
        shake = await post(stage, {"verification_token": TOKEN}, **{"X-Notion-Signature": ""})
        assert shake == (200, {"outcome": "handshake"})
        assert (await post(stage, an_event(stage)))[1] == {"outcome": "taken"}
    async with a_broker(tmp_path) as stage:  # after a restart, no longer pending
        shake = await post(stage, {"verification_token": "x" * 20}, **{"X-Notion-Signature": ""})
        assert shake[0] == 401
        assert (await post(stage, an_event(stage)))[0] == 200
    assert TOKEN.encode() not in kept_in(tmp_path)
    assert TOKEN not in caplog.text


async def test_the_handshakes_token_can_be_shown_to_the_operator(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    async with a_broker(tmp_path, BROKER_WEBHOOK_PENDING="1", BROKER_DATABASE_URL=url) as stage:
        with pytest.raises(NotFound):
            await webhook_token(stage.settings)
        await post(stage, {"verification_token": TOKEN}, **{"X-Notion-Signature": ""})
        assert await webhook_token(stage.settings) == TOKEN


async def test_no_event_outlives_the_last_connection_to_its_workspace(stage: BrokerStage) -> None:
    await post(stage, an_event(stage))
    tokens = await stage.sign_in()
    await stage.delete("/api/user", tokens["access_token"])
    assert await rows(stage) == []
