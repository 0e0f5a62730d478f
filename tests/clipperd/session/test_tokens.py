"""Tokens: renewed, lost, revoked, and never lent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clipperd.broker.sse import Frame
from clipperd.errors import BrokerUnreachable, NotSignedIn, ReauthRequired, StorageFull
from clipperd.keychain.errors import KeychainLocked
from clipperd.keychain.system import MemorySecrets
from clipperd.push.event_handler import EventHandler
from clipperd.session.credentials import secret_name
from clipperd.session.login import read_answer
from tests.clipperd.fake_broker import WORKSPACE_A, WORKSPACE_B, FakeBroker, Fault, ada, bob
from tests.clipperd.session.session_stage import SessionStage, running_world


async def test_an_access_token_is_used_until_it_nears_its_end(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    first = await world.session.token_for("user-ada")
    world.clock.advance(500)
    assert await world.session.token_for("user-ada") == first
    world.clock.advance(80)
    assert await world.session.token_for("user-ada") != first


async def test_many_callers_cause_one_refresh(world: SessionStage, broker: FakeBroker) -> None:
    await world.sign_in(broker, ada())
    world.clock.advance(3600)
    tokens = await asyncio.gather(*(world.session.token_for("user-ada") for _ in range(20)))
    assert len(set(tokens)) == 1
    assert len(broker.calls_to("token")) == 2


async def test_a_caller_that_goes_away_does_not_stop_the_refresh(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    world.clock.advance(3600)
    broker.hold = asyncio.Event()
    leaving = asyncio.create_task(world.session.token_for("user-ada"))
    staying = asyncio.create_task(world.session.token_for("user-ada"))
    await asyncio.sleep(0)
    leaving.cancel()
    broker.hold.set()
    assert (await staying).startswith("access-")
    assert len(broker.calls_to("token")) == 2


async def test_a_lost_refresh_answer_signs_no_account_out(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    for _ in range(3):
        world.clock.advance(3600)
        broker.faults.append(Fault("drop_after", "token"))
        await world.session.token_for("user-ada")
    assert await world.session.state() == "signed_in"


async def test_the_new_refresh_token_is_stored_before_anything_uses_it(
    tmp_path: Path, broker: FakeBroker
) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
        world.clock.advance(3600)
        await world.session.token_for("user-ada")
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        assert (await world.session.token_for("user-ada")).startswith("access-")
        assert await world.session.state() == "signed_in"


async def test_a_refused_refresh_asks_for_a_new_sign_in(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.revoke(ada())
    world.clock.advance(3600)
    with pytest.raises(ReauthRequired):
        await world.session.token_for("user-ada")
    view = await world.session.view()
    assert (view.state, view.why) == ("reauth_required", "invalid_grant")
    assert world.connectivity.status.state == "reauth_required"
    assert world.last_published()["state"] == "reauth_required"
    with pytest.raises(ReauthRequired):
        await world.session.token_for("user-ada")
    assert len(broker.calls_to("token")) == 2


async def test_signing_in_again_restores_the_session(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.revoke(ada())
    world.clock.advance(3600)
    with pytest.raises(ReauthRequired):
        await world.session.token_for("user-ada")
    await world.sign_in(broker, ada())
    assert (await world.session.token_for("user-ada")).startswith("access-")
    assert world.connectivity.status.state == "online"


@pytest.mark.parametrize("kind", ["drop_before", "garbage", "status", "redirect"])
async def test_an_outage_while_refreshing_ends_no_session(
    world: SessionStage, broker: FakeBroker, kind: str
) -> None:
    await world.sign_in(broker, ada())
    world.clock.advance(3600)
    broker.faults += [Fault(kind, "token"), Fault(kind, "token")]  # type: ignore[arg-type]
    with pytest.raises(BrokerUnreachable) as failure:
        await world.session.token_for("user-ada")
    assert failure.value.sent is False
    broker.faults.clear()
    assert (await world.session.token_for("user-ada")).startswith("access-")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_grant"}),
        (401, {"error": "unauthorized", "code": "invalid_grant"}),
        (403, {"error": "Forbidden"}),
        (403, {"code": "1020"}),
        (404, {"error": "not_found"}),
        (200, {"access_token": 7}),
    ],
)
async def test_only_the_broker_itself_ends_a_session(
    world: SessionStage, broker: FakeBroker, status: int, body: dict[str, object]
) -> None:
    await world.sign_in(broker, ada())
    world.clock.advance(3600)
    broker.faults += [Fault("status", "token", status, {}, body) for _ in range(2)]
    with pytest.raises(BrokerUnreachable):
        await world.session.token_for("user-ada")
    assert (await world.session.view()).state == "signed_in"
    broker.faults.clear()
    assert (await world.session.token_for("user-ada")).startswith("access-")


async def test_a_session_in_memory_ends_with_the_process_and_is_reported(
    tmp_path: Path, broker: FakeBroker
) -> None:
    async with running_world(tmp_path, broker.url) as world:
        await world.sign_in(broker, ada())
    async with running_world(tmp_path, broker.url) as world:
        await world.session.check()
        view = await world.session.view()
        assert (view.state, view.why) == ("reauth_required", "no_secret")


class SlowSecrets(MemorySecrets):
    """A keyring that takes its time to store."""

    def __init__(self) -> None:
        super().__init__()
        self.storing, self.go_on = asyncio.Event(), asyncio.Event()

    async def set(self, name: str, value: str) -> None:
        self.storing.set()
        await self.go_on.wait()
        await super().set(name, value)


async def test_a_sign_in_during_the_check_of_the_old_session_stays(
    tmp_path: Path, broker: FakeBroker
) -> None:
    async with running_world(tmp_path, broker.url) as world:
        await world.sign_in(broker, ada())
    kept = SlowSecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        signing_in = asyncio.create_task(world.sign_in(broker, ada()))
        await kept.storing.wait()
        checking = asyncio.create_task(world.session.check())
        done, _ = await asyncio.wait({checking}, timeout=0.2)
        kept.go_on.set()
        await asyncio.gather(signing_in, checking)
        assert (await world.session.view()).state == "signed_in"
        assert not done  # it waited for the sign-in


class LockableSecrets(MemorySecrets):
    """A keyring that a person can lock."""

    locked = False

    async def get(self, name: str) -> str | None:
        if self.locked:
            raise KeychainLocked("The keyring refuses to answer.")
        return await super().get(name)


async def test_a_locked_keychain_waits_and_ends_no_session(
    tmp_path: Path, broker: FakeBroker
) -> None:
    kept = LockableSecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
    kept.locked = True
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.session.check()
        with pytest.raises(KeychainLocked) as locked:
            await world.session.token_for("user-ada")
        assert locked.value.sent is False
        assert await world.session.state() == "signed_in"
        assert world.connectivity.status.why == "keychain_locked"
        kept.locked = False
        assert (await world.session.token_for("user-ada")).startswith("access-")
        assert world.connectivity.status.why is None


async def test_a_full_disk_keeps_the_account_signed_in(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    started = await world.session.start_login("app")
    answered = read_answer(broker.answer_login(started.login_url, bob()))
    await world.db.write(lambda c: c.execute("PRAGMA query_only=ON").fetchall())
    with pytest.raises(StorageFull):
        await world.session.finish_login(answered)
    world.clock.advance(3600)
    assert (await world.session.token_for("user-ada")).startswith("access-")
    assert await world.secrets.get(secret_name("user-bob")) is None
    assert [p.id for p in broker.sessions.values()] == ["user-ada"]


async def test_a_keychain_missing_at_one_start_ends_no_session(
    tmp_path: Path, broker: FakeBroker
) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
    async with running_world(tmp_path, broker.url, kept=MemorySecrets()) as world:
        await world.session.check()
        assert await world.session.state() == "reauth_required"
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.session.check()
        assert await world.session.state() == "signed_in"
        assert (await world.session.token_for("user-ada")).startswith("access-")


async def test_signing_out_deletes_the_secret_and_revokes_the_session(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    await world.session.sign_out()
    assert await world.secrets.get(secret_name("user-ada")) is None
    await broker.left_with()
    view = await world.session.view()
    assert (view.state, view.user, view.workspaces) == ("signed_out", None, [])
    with pytest.raises(NotSignedIn):
        await world.session.token_for("user-ada")


async def test_signing_out_needs_no_network(world: SessionStage, broker: FakeBroker) -> None:
    await world.sign_in(broker, ada())
    broker.faults.append(Fault("drop_before", "logout"))
    await world.session.sign_out()
    assert await world.session.state() == "signed_out"


async def test_no_sign_in_or_out_waits_for_the_revocation_of_the_session_before(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.faults.append(Fault("hang", "logout"))
    await world.session.sign_out()
    assert await world.session.state() == "signed_out"
    view = await world.sign_in(broker, bob())
    assert view.user is not None
    assert view.user.id == "user-bob"
    broker.faults.append(Fault("hang", "logout"))
    again = await world.sign_in(broker, ada())
    assert again.user is not None
    assert again.user.id == "user-ada"


async def test_a_sign_out_that_cannot_be_stored_changes_nothing(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    await world.db.write(lambda c: c.execute("PRAGMA query_only=ON").fetchall())
    with pytest.raises(StorageFull):
        await world.session.sign_out()
    assert await world.session.state() == "signed_in"
    world.clock.advance(3600)
    assert (await world.session.token_for("user-ada")).startswith("access-")


async def test_a_secret_left_by_a_crash_in_a_sign_out_is_deleted_at_the_next_start(
    tmp_path: Path, broker: FakeBroker
) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
        await world.accounts.set_state("user-ada", "signed_out")  # all that was stored of it
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.session.check()
    assert await kept.get(secret_name("user-ada")) is None


async def test_choosing_a_workspace_needs_no_request(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    before = len(broker.calls)
    await world.session.set_current(WORKSPACE_B)
    assert (await world.accounts.scope()).workspace_id == WORKSPACE_B
    assert len(broker.calls) == before


@pytest.mark.parametrize("spoil", ["expired", "lost at restart"])
async def test_signing_out_revokes_the_session_with_a_stale_access_token(
    tmp_path: Path, broker: FakeBroker, spoil: str
) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
        if spoil == "expired":
            broker.expire_access()
            await world.session.sign_out()
            await broker.left_with()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.session.sign_out()
        await broker.left_with()


async def test_signing_in_again_ends_the_session_before(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    await world.sign_in(broker, ada())
    await broker.left_with("user-ada")
    world.clock.advance(3600)
    assert (await world.session.token_for("user-ada")).startswith("access-")


async def test_clips_find_their_owner_after_signing_out(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    await world.session.sign_out()
    scope = await world.accounts.scope()
    assert (scope.user_id, scope.workspace_id) == ("user-ada", WORKSPACE_A)


async def test_no_token_is_given_for_another_account(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    await world.sign_in(broker, bob())
    assert (await world.session.token_for("user-bob")).startswith("access-")
    with pytest.raises(NotSignedIn):
        await world.session.token_for("user-ada")
    assert await world.secrets.get(secret_name("user-ada")) is None
    await broker.left_with("user-bob")


async def test_signing_out_during_a_refresh_gives_no_token(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    world.clock.advance(3600)
    broker.hold = asyncio.Event()
    broker.asked.clear()
    refreshing = asyncio.create_task(world.session.token_for("user-ada"))
    await broker.asked.wait()
    await world.session.sign_out()
    with pytest.raises(NotSignedIn):
        await refreshing


async def test_signing_in_again_never_looks_like_being_signed_out(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    world.clock.advance(3600)
    started = await world.session.start_login("app", "add_workspace")
    answered = read_answer(broker.answer_login(started.login_url, ada()))
    broker.hold = asyncio.Event()
    broker.asked.clear()
    refreshing = asyncio.create_task(world.session.token_for("user-ada"))
    await broker.asked.wait()
    broker.hold = None
    await world.session.finish_login(answered)
    with pytest.raises(BrokerUnreachable) as unsent:
        await refreshing
    assert unsent.value.sent is False
    assert (await world.session.token_for("user-ada")).startswith("access-")


async def test_the_secret_kept_is_that_of_the_newest_session(
    tmp_path: Path, broker: FakeBroker
) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
        world.clock.advance(3600)
        started = await world.session.start_login("app")
        answered = read_answer(broker.answer_login(started.login_url, ada()))
        await asyncio.gather(
            world.session.finish_login(answered),
            *(world.session.token_for("user-ada") for _ in range(5)),
            return_exceptions=True,
        )
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        assert (await world.session.token_for("user-ada")).startswith("access-")


async def test_a_session_that_ends_while_the_disk_is_full_is_reported(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    await world.db.write(lambda c: c.execute("PRAGMA query_only=ON").fetchall())
    broker.revoke(ada())
    world.clock.advance(3600)
    with pytest.raises(ReauthRequired):
        await world.session.token_for("user-ada")
    assert world.last_published()["state"] == "reauth_required"


async def test_a_changed_profile_is_published_after_a_refresh(
    world: SessionStage, broker: FakeBroker
) -> None:
    person = ada()
    await world.sign_in(broker, person)
    person.workspaces.pop(0)
    world.last_published()
    world.clock.advance(3600)
    await world.session.token_for("user-ada")
    assert [w["id"] for w in world.last_published()["workspaces"]] == [WORKSPACE_B]
    assert (await world.accounts.scope()).workspace_id == WORKSPACE_B


async def test_a_tier_that_was_bought_is_published_as_soon_as_the_broker_tells_of_it(
    world: SessionStage, broker: FakeBroker
) -> None:
    view = await world.sign_in(broker, ada())
    broker.tier, broker.limit = "PRO", 240
    handler = EventHandler(world.session, None, None, None)  # type: ignore[arg-type]  # no page
    token = await world.session.token_for("user-ada")
    await handler.handle("user-ada", token, Frame("subscription", "{}", None))
    event = world.last_published()
    assert (event["subscription"]["tier"], event["limits"]) == ("PRO", {"all": 240})
    assert event["user"]["email"] == (view.user.email if view.user else None)
    await handler.handle("user-ada", token, Frame("subscription", "{}", None))
    assert world.published.empty()  # nothing new
