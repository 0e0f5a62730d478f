"""Signing in: by deep link and loopback, once, in time, and only in the daemon that started it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clipperd.errors import (
    BrokerNotConfigured,
    BrokerUnreachable,
    ClipperdError,
    NotFound,
    NotSignedIn,
)
from clipperd.health import check_link
from clipperd.keychain.system import MemorySecrets
from clipperd.session.errors import LoginDenied, LoginExpired, LoginOtherAccount, LoginStateUnknown
from clipperd.session.login import LoginAnswer, StartedLogin, read_answer
from tests.clipperd.fake_broker import (
    WORKSPACE_A,
    WORKSPACE_B,
    FakeBroker,
    Fault,
    FaultKind,
    ada,
    bob,
)
from tests.clipperd.session.session_stage import SessionStage, running_world


async def test_no_account_is_signed_in_at_first(world: SessionStage) -> None:
    assert (await world.session.view()).state == "signed_out"
    assert world.connectivity.status.state == "signed_out"
    with pytest.raises(NotSignedIn):
        await world.session.token_for("user-ada")


async def test_a_sign_in_gives_user_workspaces_and_subscription(
    world: SessionStage, broker: FakeBroker
) -> None:
    view = await world.sign_in(broker, ada())
    assert view.state == "signed_in"
    assert view.user is not None
    assert view.user.email == "ada@example.org"
    assert [(w.id, w.current) for w in view.workspaces] == [
        (WORKSPACE_A, True),
        (WORKSPACE_B, False),
    ]
    assert view.subscription is not None
    assert view.subscription.tier == "FREE"
    assert view.limits == {"all": 120}
    assert world.connectivity.status.state == "online"
    assert world.last_published()["state"] == "signed_in"


async def test_the_verifier_travels_only_in_the_exchange(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    verifier = broker.calls_to("token")[0].body["code_verifier"]
    started = await world.session.start_login("app")
    assert verifier not in started.login_url
    assert len(verifier) == 43


async def test_a_pending_sign_in_survives_a_restart(tmp_path: Path, broker: FakeBroker) -> None:
    async with running_world(tmp_path, broker.url) as world:
        started = await world.session.start_login("app")
    async with running_world(tmp_path, broker.url) as world:
        assert await world.session.state() == "signing_in"
        answered = read_answer(broker.answer_login(started.login_url, ada()))
        assert (await world.session.finish_login(answered)).state == "signed_in"


async def test_an_unexpected_answer_is_refused(world: SessionStage, broker: FakeBroker) -> None:
    with pytest.raises(LoginStateUnknown):
        await world.session.finish_login(LoginAnswer("made-up", token="attacker"))
    assert broker.calls == []


async def test_an_unexpected_error_cancels_nothing(world: SessionStage, broker: FakeBroker) -> None:
    await world.session.start_login("app")
    with pytest.raises(LoginStateUnknown):
        await world.session.finish_login(LoginAnswer("made-up", error="access_denied"))
    assert await world.session.state() == "signing_in"


async def test_a_declined_sign_in_is_over(world: SessionStage, broker: FakeBroker) -> None:
    started = await world.session.start_login("app")
    with pytest.raises(LoginDenied) as denied:
        await world.session.finish_login(read_answer(broker.refuse_login(started.login_url)))
    assert denied.value.params == {"error": "access_denied"}
    assert await world.session.state() == "signed_out"


async def test_a_sign_in_expires_after_ten_minutes_and_says_so(
    world: SessionStage, broker: FakeBroker
) -> None:
    started = await world.session.start_login("app")
    answered = read_answer(broker.answer_login(started.login_url, ada()))
    assert (await world.published.get())["state"] == "signing_in"
    await asyncio.sleep(0)
    world.clock.advance(600)
    assert (await world.published.get())["state"] == "signed_out"
    with pytest.raises(LoginExpired):
        await world.session.finish_login(answered)


async def test_a_stale_hand_off_counts_as_expired(world: SessionStage, broker: FakeBroker) -> None:
    started = await world.session.start_login("app")
    answered = read_answer(broker.answer_login(started.login_url, ada()))
    with pytest.raises(LoginExpired):
        await world.session.finish_login(LoginAnswer(answered.state, token="used-elsewhere"))


async def test_the_same_deep_link_twice_is_one_sign_in(
    world: SessionStage, broker: FakeBroker
) -> None:
    started = await world.session.start_login("app")
    answered = read_answer(broker.answer_login(started.login_url, ada()))
    first, second = await asyncio.gather(
        world.session.finish_login(answered), world.session.finish_login(answered)
    )
    assert first == second
    assert len(broker.calls_to("token")) == 1


async def test_a_canceled_sign_in_is_not_waited_for(
    world: SessionStage, broker: FakeBroker
) -> None:
    started = await world.session.start_login("app")
    await world.session.cancel_login(started.login_id)
    with pytest.raises(LoginStateUnknown):
        await world.session.finish_login(read_answer(broker.answer_login(started.login_url, ada())))
    with pytest.raises(NotFound):
        await world.session.cancel_login(started.login_id)


async def test_a_hand_off_can_be_tried_again_after_an_outage(
    world: SessionStage, broker: FakeBroker
) -> None:
    started = await world.session.start_login("app")
    answered = read_answer(broker.answer_login(started.login_url, ada()))
    broker.faults.append(Fault("status", "token", 503, body={"code": "database_unavailable"}))
    with pytest.raises(BrokerUnreachable):
        await world.session.finish_login(answered)
    assert (await world.session.finish_login(answered)).state == "signed_in"


async def test_adding_a_workspace_does_not_change_accounts(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    with pytest.raises(LoginOtherAccount):
        await world.sign_in(broker, bob(), purpose="add_workspace")
    view = await world.session.view()
    assert view.user is not None
    assert view.user.id == "user-ada"
    await broker.left_with("user-ada")


async def test_a_sign_in_that_changes_no_workspace_can_still_be_noticed(
    world: SessionStage, broker: FakeBroker
) -> None:
    before = await world.sign_in(broker, ada())
    world.clock.advance(5)
    assert await world.sign_in(broker, ada(), purpose="change_access") != before


async def test_adding_a_workspace_needs_an_account(world: SessionStage) -> None:
    with pytest.raises(NotSignedIn):
        await world.session.start_login("app", "add_workspace")


async def status_of(world: SessionStage, started: StartedLogin) -> tuple[str, str | None]:
    status = await world.session.login_status(started.login_id)
    return status.state, status.error.code if status.error else None


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("access_denied", "login_denied"),
        ("workspace_taken", "workspace_taken"),
        ("server_error", "notion_refused"),
        ("temporarily_unavailable", "notion_unavailable"),
        ("service_unavailable", "service_unavailable"),
        ("login_state_unknown", "other_browser"),
        ("login_expired", "login_expired"),
        ("something_new", "login_denied"),
    ],
)
async def test_a_failed_sign_in_keeps_its_reason_for_whoever_waits(
    world: SessionStage, broker: FakeBroker, word: str, code: str
) -> None:
    started = await world.session.start_login("app")
    assert await status_of(world, started) == ("pending", None)
    with pytest.raises(ClipperdError):
        await world.session.finish_login(read_answer(broker.refuse_login(started.login_url, word)))
    assert await status_of(world, started) == ("failed", code)
    event = world.last_published()
    assert (event["state"], event["login_id"]) == ("signed_out", started.login_id)
    assert event["error"]["code"] == code
    assert all(event["error"][name] for name in ("title", "detail", "hint"))
    await world.sign_in(broker, ada())
    assert world.last_published()["error"] is None


async def test_a_new_sign_in_ends_the_older_ones(world: SessionStage, broker: FakeBroker) -> None:
    first, second = [await world.session.start_login("app") for _ in range(2)]
    assert await status_of(world, first) == ("canceled", None)
    assert await status_of(world, second) == ("pending", None)
    with pytest.raises(LoginStateUnknown):
        await world.session.finish_login(read_answer(broker.answer_login(first.login_url, ada())))
    await world.session.finish_login(read_answer(broker.answer_login(second.login_url, ada())))
    assert await status_of(world, second) == ("done", None)
    with pytest.raises(NotFound):
        await world.session.login_status("never-started")


async def test_an_outage_at_the_last_step_is_told_and_the_sign_in_can_continue(
    world: SessionStage, broker: FakeBroker
) -> None:
    started = await world.session.start_login("app")
    answered = read_answer(broker.answer_login(started.login_url, ada()))
    broker.faults.append(Fault("drop_before", "token"))
    with pytest.raises(BrokerUnreachable):
        await world.session.finish_login(answered)
    assert await status_of(world, started) == ("pending", "broker_unreachable")
    await world.session.finish_login(answered)
    assert await status_of(world, started) == ("done", None)


async def test_a_sign_in_that_took_too_long_is_expired(world: SessionStage) -> None:
    started = await world.session.start_login("app")
    world.clock.advance(601)
    assert await status_of(world, started) == ("expired", "login_expired")


async def test_a_pending_sign_in_masks_no_state_of_the_account(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    token = await world.session.token_for("user-ada")
    await world.session.expire("user-ada", token, "invalid_grant")
    started = await world.session.start_login("app")
    assert await world.session.state() == "reauth_required"
    await world.session.sign_out()
    assert await world.session.state() == "signed_out"
    assert await status_of(world, started) == ("canceled", None)


async def test_no_sign_in_starts_while_its_address_does_not_answer(
    world: SessionStage, broker: FakeBroker
) -> None:
    kinds: tuple[FaultKind, ...] = ("garbage", "redirect", "status")
    for kind in kinds:
        broker.faults.append(Fault(kind, "healthz"))
        with pytest.raises(BrokerUnreachable):
            await world.session.start_login("app")
    assert broker.server is not None
    await broker.server.close()
    with pytest.raises(BrokerUnreachable):
        await world.session.start_login("app")
    assert await world.session.state() == "signed_out"


async def test_without_a_broker_no_sign_in_starts_and_the_reason_is_told(tmp_path: Path) -> None:
    async with running_world(tmp_path, None) as world:
        with pytest.raises(BrokerNotConfigured) as refused:
            await world.session.start_login("app")
        assert refused.value.hint
        link = world.connectivity.status
        assert (link.state, link.why) == ("signed_out", "broker_not_configured")
        finding = await check_link(world.connectivity)
        assert (finding.severity, bool(finding.remedy)) == ("error", True)


async def test_a_session_without_a_broker_is_kept(tmp_path: Path, broker: FakeBroker) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
    async with running_world(tmp_path, None, kept=kept) as world:
        with pytest.raises(BrokerNotConfigured):
            await world.session.token_for("user-ada")
        link = world.connectivity.status
        assert (link.state, link.why) == ("offline", "broker_not_configured")
        assert await world.session.state() == "signed_in"
