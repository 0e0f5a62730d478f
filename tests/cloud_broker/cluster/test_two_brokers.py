"""Two brokers over one database: a change at one takes effect at the other within five seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.identity.ttl_cache import FRESH_S
from cloud_broker.push import fanout
from tests.cloud_broker.billing.stripe_events import (
    CHECKOUT,
    CREATED,
    DELETED,
    TAKEN,
    a_billed_broker,
    a_checkout,
    a_subscription,
    an_event,
    deliver,
    standing,
    subscribe,
    told,
)
from tests.cloud_broker.broker_stage import LOOPBACK, VERIFIER, BrokerStage, parameters, state_of
from tests.cloud_broker.push.push_listener import listening

USERS_ME = "/api/notion/proxy/users/me"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[BrokerStage, BrokerStage]]:
    async with a_billed_broker(tmp_path) as one, a_billed_broker(tmp_path) as two:
        yield one, two


def advance(pair: tuple[BrokerStage, BrokerStage], seconds: float) -> None:
    for stage in pair:
        stage.clock.advance(seconds)


async def admitted(stage: BrokerStage, token: str) -> int:
    """How many calls of a route with ten a minute go through until one is refused."""
    for count in range(50):
        answer = await stage.get(USERS_ME, token)
        if answer.headers.get("X-Broker-Code") == "limit_route":
            return count
    raise AssertionError("no limit")


async def test_a_tier_counts_on_every_instance_within_five_seconds(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    one, two = pair
    answer = await one.sign_in()
    token = answer["access_token"]
    assert [await admitted(stage, token) for stage in pair] == [10, 10]
    await subscribe(one, answer["user"]["id"])
    assert await admitted(one, token) == 10  # ten more: where the event came in, at once
    assert await admitted(two, token) == 0  # the verdict of some seconds ago
    advance(pair, FRESH_S)
    assert await admitted(two, token) == 10
    assert [await standing(stage, token) for stage in pair] == [("PRO", "active", 240)] * 2
    await told(two, DELETED, a_subscription(), at=two.clock.now() + 1)
    advance(pair, FRESH_S)
    assert [await admitted(stage, token) for stage in pair] == [0, 0]
    assert [(await standing(stage, token))[0] for stage in pair] == ["FREE", "FREE"]
    assert FRESH_S <= 5


async def test_an_event_that_two_brokers_hear_at_once_is_taken_once(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    one, two = pair
    answer = await one.sign_in()
    user_id, now = answer["user"]["id"], one.clock.now()
    events = [an_event(CHECKOUT, a_checkout(user_id), at=now)]
    events += [an_event(CREATED, a_subscription(id=f"sub_{number}"), at=now) for number in range(5)]
    heard = await asyncio.gather(*(deliver(stage, event) for event in events for stage in pair))
    assert heard == [TAKEN] * 12
    assert (await standing(two, answer["access_token"]))[0] == "PRO"
    async with one.database.reading() as tx:
        assert len(await tx.all("SELECT id FROM stripe_events")) == 6
        changes = await tx.all("SELECT 1 AS one FROM audit_log WHERE event = 'customer_known'")
        assert len(changes) == 1


async def test_of_two_subscriptions_heard_at_once_the_better_counts(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    one, two = pair
    answer = await one.sign_in()
    await told(one, CHECKOUT, a_checkout(answer["user"]["id"]))
    for number in range(8):
        team = {"id": f"sub_team{number}", "prices": [("p", "prod_team")]}
        pro = {"id": f"sub_pro{number}"}
        await asyncio.gather(
            told(one, CREATED, a_subscription(**team)), told(two, CREATED, a_subscription(**pro))
        )
        assert (await standing(one, answer["access_token"]))[0] == "TEAM"
        await asyncio.gather(
            told(one, DELETED, a_subscription(**team)), told(two, DELETED, a_subscription(**pro))
        )
        assert (await standing(one, answer["access_token"]))[0] == "FREE"


async def test_a_state_works_once_even_when_two_brokers_race(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    one, two = pair
    begun = await one.begin_sign_in(redirect_uri=LOOPBACK)
    for name, cookie in begun.cookies.items():
        two.browser.session.cookie_jar.update_cookies({name: cookie.value})
    arrived = await asyncio.gather(
        *(stage.complete_sign_in(state=state_of(begun), code="good-code") for stage in pair)
    )
    assert sorted(answer.status for answer in arrived) == [302, 400]
    assert len(one.notion.calls) + len(two.notion.calls) == 1


async def test_of_two_that_redeem_a_hand_off_at_once_neither_keeps_a_session(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    handoff = await pair[0].hand_off()
    body = {"grant_type": "handoff", "token": handoff, "code_verifier": VERIFIER}
    answers = await asyncio.gather(*(stage.token(**body) for stage in pair))
    assert sorted(answer.status for answer in answers) == [200, 400]
    (won,) = [await answer.json() for answer in answers if answer.status == 200]
    for stage in pair:
        assert (await stage.get("/api/user/me", won["access_token"])).status == 401
        assert (await stage.refresh(won["refresh_token"])).status == 400


async def test_a_session_ended_at_one_broker_ends_at_the_other_with_its_stream(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    one, two = pair
    laptop, desktop = await one.sign_in(), await one.sign_in()
    assert (await two.get("/api/user/me", laptop["access_token"])).status == 200
    async with listening(two, laptop["access_token"]) as stream:
        assert (await stream.next())[0] == "ready"
        listed = await (await one.get("/api/auth/sessions", desktop["access_token"])).json()
        other = next(each["id"] for each in listed["sessions"] if not each["current"])
        assert (
            await one.delete(f"/api/auth/sessions/{other}", desktop["access_token"])
        ).status == 204
        two.clock.advance(fanout.CHECK_S)
        assert await stream.next() == ("session_revoked", {})
        two.clock.advance(FRESH_S - fanout.CHECK_S)
        assert (await two.get("/api/user/me", laptop["access_token"])).status == 401
    assert (await two.get("/api/user/me", desktop["access_token"])).status == 200


async def test_a_token_reused_at_one_broker_ends_the_family_at_the_other(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    one, two = pair
    first = await one.sign_in()
    second = await (await two.refresh(first["refresh_token"])).json()
    third = await (await one.refresh(second["refresh_token"])).json()
    assert (await two.refresh(first["refresh_token"])).status == 400
    assert (await one.refresh(third["refresh_token"])).status == 400
    advance(pair, FRESH_S)
    for stage in pair:
        assert (await stage.get("/api/user/me", third["access_token"])).status == 401


async def test_hand_offs_go_through_whichever_broker_the_browser_reaches(
    pair: tuple[BrokerStage, BrokerStage],
) -> None:
    one, two = pair
    begun = await one.begin_sign_in(redirect_uri=LOOPBACK)
    for name, cookie in begun.cookies.items():
        two.browser.session.cookie_jar.update_cookies({name: cookie.value})
    arrived = await two.complete_sign_in(state=state_of(begun), code="good-code")
    handoff = parameters(arrived.headers["Location"])["token"]
    opened = await one.token(grant_type="handoff", token=handoff, code_verifier=VERIFIER)
    assert opened.status == 200
