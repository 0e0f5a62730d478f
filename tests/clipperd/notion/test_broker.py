"""Notion through the broker: headers, answers, and whether a failed request may have left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from clipperd.broker.client import BrokerClient
from clipperd.broker.connectivity import Connectivity
from clipperd.broker.http import AiohttpHttp
from clipperd.broker.reply import Limit
from clipperd.errors import BrokerUnreachable, InvalidInput, NotSignedIn, ReauthRequired
from clipperd.keychain.system import MemorySecrets
from clipperd.model import Scope
from clipperd.notion.port import Call, Form, Notion
from tests.clipperd.fake_broker import WORKSPACE_A, FakeBroker, Fault, FaultKind, ada
from tests.clipperd.session.session_stage import ADA, SessionStage, running_world
from tests.clocks import ManualClock


async def test_a_request_carries_token_workspace_and_key(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    notion: Notion = world.notion
    reply = await notion.send(ADA, Call("PATCH", "blocks/abc/children", body=b'{"a":1}', key="k-1"))
    assert reply.ok
    assert reply.body == {
        "object": "echo",
        "user": "user-ada",
        "workspace": WORKSPACE_A,
        "key": "k-1",
        "method": "PATCH",
        "path": "blocks/abc/children",
        "query": {},
    }
    assert broker.calls[-1].body == {"a": 1}
    assert broker.calls[-1].headers["content-type"] == "application/json"


async def test_a_query_is_encoded(world: SessionStage, broker: FakeBroker) -> None:
    await world.sign_in(broker, ada())
    reply = await world.notion.send(
        ADA, Call("GET", "blocks/abc/children", query={"c": "a&b=ü +%"})
    )
    assert reply.body["query"] == {"c": "a&b=ü +%"}


@pytest.mark.parametrize(
    "path", ["../../auth/token", "pages/..", "pages/%2e%2e", "pages//x", "/pages", "p?x", "", "a\n"]
)
async def test_a_path_cannot_climb_out_of_the_proxy(
    world: SessionStage, broker: FakeBroker, path: str
) -> None:
    await world.sign_in(broker, ada())
    calls = len(broker.calls)
    with pytest.raises(InvalidInput):
        await world.notion.send(ADA, Call("GET", path))
    assert len(broker.calls) == calls


async def test_errors_of_notion_are_replies(world: SessionStage, broker: FakeBroker) -> None:
    await world.sign_in(broker, ada())
    body = {"object": "error", "code": "validation_error", "message": "no such block"}
    broker.faults.append(Fault("status", "proxy", 400, body=body))
    reply = await world.notion.send(ADA, Call("GET", "pages/x"))
    assert (reply.status, reply.code, reply.broker_code) == (400, "validation_error", None)
    assert reply.message == "no such block"


async def test_retry_after_is_read_in_both_forms(world: SessionStage, broker: FakeBroker) -> None:
    await world.sign_in(broker, ada())
    code = {"X-Broker-Code": "limit_user"}
    broker.faults.append(Fault("status", "proxy", 429, {"Retry-After": "7", **code}))
    reply = await world.notion.send(ADA, Call("GET", "pages/x"))
    assert (reply.retry_after_s, reply.broker_code) == (7.0, "limit_user")
    assert reply.date is not None
    later = formatdate(reply.date + 3600, usegmt=True)
    broker.faults.append(Fault("status", "proxy", 503, {"Retry-After": later}))
    reply = await world.notion.send(ADA, Call("GET", "pages/x"))
    assert reply.retry_after_s == pytest.approx(3600, abs=10)


async def test_what_is_left_of_the_limits_is_read_from_the_headers(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    headers = {
        "RateLimit-Policy": '"user";q=120;w=60, "route";q=20;w=60, "odd";q=0;w=60,'
        ' "huge";q=9999999;w=60, "long";q=1;w=9999999, "far";q=5;w=60',
        "RateLimit": '"route";r=0;t=17, "user";r=99;t=3, "odd";r=1;t=1, "gone";r=1, nonsense,'
        ' "huge";r=0, "long";r=0, "far";r=0;t=9999999',
    }
    broker.faults.append(Fault("status", "proxy", 429, headers))
    reply = await world.notion.send(ADA, Call("GET", "pages/x"))
    assert reply.limits == (
        Limit("route", 20, 60.0, 0, 17.0),
        Limit("user", 120, 60.0, 99, 3.0),
        Limit("far", 5, 60.0, 0, 60.0),
    )
    assert (await world.notion.send(ADA, Call("GET", "pages/x"))).limits == ()


async def test_an_expired_access_token_is_replaced_and_the_request_repeated(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.expire_access()
    reply = await world.notion.send(ADA, Call("PATCH", "blocks/x/children", body=b"{}", key="k"))
    assert reply.ok
    assert [c.headers["idempotency-key"] for c in broker.calls_to("proxy")] == ["k", "k"]


async def test_a_broker_at_odds_with_itself_is_not_asked_for_ever(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.refuse_access = True
    with pytest.raises(BrokerUnreachable) as failure:
        await world.notion.send(ADA, Call("GET", "pages/x"))
    assert failure.value.sent is False
    assert len(broker.calls_to("proxy")) == 2
    assert await world.session.state() == "signed_in"


async def test_a_connection_that_notion_ended_asks_for_a_new_sign_in(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.notion_token_invalid = True
    with pytest.raises(ReauthRequired):
        await world.notion.send(ADA, Call("GET", "pages/x"))
    view = await world.session.view()
    assert (view.state, view.why) == ("reauth_required", "notion_token_invalid")
    with pytest.raises(ReauthRequired):
        await world.notion.send(ADA, Call("GET", "pages/x"))
    assert len(broker.calls_to("proxy")) == 1


async def test_a_late_refusal_of_an_old_token_does_not_end_the_new_session(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    old = await world.session.token_for("user-ada")
    await world.sign_in(broker, ada())
    assert await world.session.expire("user-ada", old, "notion_token_invalid") is False
    assert await world.session.state() == "signed_in"


async def test_nothing_leaves_under_another_name(world: SessionStage, broker: FakeBroker) -> None:
    await world.sign_in(broker, ada())
    with pytest.raises(NotSignedIn):
        await world.notion.send(Scope("user-bob", WORKSPACE_A), Call("GET", "pages/x"))
    assert broker.calls_to("proxy") == []


async def test_a_refused_connection_has_sent_nothing(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    assert broker.server is not None
    await broker.server.close()
    await world.client.drop_connections()
    with pytest.raises(BrokerUnreachable) as failure:
        await world.notion.send(ADA, Call("PATCH", "blocks/x/children", body=b"{}", key="k"))
    assert failure.value.sent is False
    assert (world.connectivity.status.state, world.connectivity.status.why) == (
        "offline",
        "cannot_connect",
    )


@pytest.mark.parametrize("address", ["https://127.0.0.1:{port}", "http://name.invalid:{port}"])
async def test_failed_tls_and_names_have_sent_nothing(broker: FakeBroker, address: str) -> None:
    clock = ManualClock()
    http = AiohttpHttp()
    base = URL(address.format(port=broker.url.port))
    client = BrokerClient(base, http, Connectivity(clock), clock)
    with pytest.raises(BrokerUnreachable) as failure:
        await client.call("POST", "api/auth/token", body=b"{}")
    assert failure.value.sent is False
    await http.close()


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port where no connection is ever accepted."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield int(port)
        for filler in fillers:
            filler.close()


async def test_a_silent_connect_has_sent_nothing() -> None:
    with full_backlog() as port:
        http = AiohttpHttp(connect_s=0.1)
        with pytest.raises(BrokerUnreachable) as failure:
            await http.request(
                "GET", URL(f"http://127.0.0.1:{port}/x"), headers={}, body=None, total_s=5
            )
        assert failure.value.sent is False
        await http.close()


@pytest.mark.parametrize(
    "kind", ["drop_before", "drop_after", "truncate", "huge", "garbage", "redirect"]
)
async def test_anything_after_the_first_byte_may_have_been_applied(
    world: SessionStage, broker: FakeBroker, kind: FaultKind
) -> None:
    await world.sign_in(broker, ada())
    broker.faults.append(Fault(kind, "proxy"))
    with pytest.raises(BrokerUnreachable) as failure:
        await world.notion.send(ADA, Call("PATCH", "blocks/x/children", body=b"{}", key="k"))
    assert failure.value.sent is True
    assert world.connectivity.status.state == "degraded"
    assert len(broker.calls_to("proxy")) == 1


async def test_no_answer_within_the_time_may_have_been_applied(broker: FakeBroker) -> None:
    broker.faults.append(Fault("hang"))
    http = AiohttpHttp()
    with pytest.raises(BrokerUnreachable) as failure:
        await http.request("POST", broker.url / "x", headers={}, body=b"{}", total_s=0.1)
    assert failure.value.sent is True
    await http.close()


async def test_a_kept_connection_that_the_broker_closed_may_have_carried_it(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    await world.notion.send(ADA, Call("GET", "pages/x"))
    broker.faults.append(Fault("drop_before", "proxy"))
    with pytest.raises(BrokerUnreachable) as failure:
        await world.notion.send(ADA, Call("POST", "pages", body=b"{}", key="k"))
    assert failure.value.sent is True


async def test_dropping_connections_frees_a_request_that_hangs(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.faults.append(Fault("hang", "proxy"))
    hanging = asyncio.create_task(world.notion.send(ADA, Call("GET", "pages/x")))
    await broker.hanging.wait()
    await world.client.drop_connections()
    with pytest.raises(BrokerUnreachable):
        await hanging
    assert (await world.notion.send(ADA, Call("GET", "pages/x"))).ok


async def test_dropping_connections_frees_a_request_that_is_still_connecting() -> None:
    with full_backlog() as port:
        http = AiohttpHttp(connect_s=600)
        url = URL(f"http://127.0.0.1:{port}/x")
        asked = http.request("GET", url, headers={}, body=None, total_s=600)
        connecting = asyncio.create_task(asked)
        while not connecting.done():
            await http.drop_connections()
            await asyncio.sleep(0.01)
        with pytest.raises(BrokerUnreachable) as failure:
            await connecting
        assert failure.value.sent is False


async def test_connectivity_follows_results_and_tells_changes_once(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    seen: list[str] = []
    world.connectivity.observe(lambda link: seen.append(f"{link.state} {link.why}"))
    broker.faults += [Fault("status", "proxy", 503), Fault("status", "proxy", 503)]
    for _ in range(3):
        await world.notion.send(ADA, Call("GET", "pages/x"))
    assert seen == ["degraded status_503", "online None"]


async def test_a_rate_limit_is_no_trouble_with_the_connection(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.faults.append(Fault("status", "proxy", 429))
    await world.notion.send(ADA, Call("GET", "pages/x"))
    assert world.connectivity.status.state == "online"


async def test_the_servers_clock_is_told_whatever_ours_does(
    world: SessionStage, broker: FakeBroker
) -> None:
    assert world.client.server_now() == world.clock.now()
    await world.sign_in(broker, ada())
    reply = await world.notion.send(ADA, Call("GET", "pages/x"))
    assert reply.date is not None
    assert world.client.server_now() == pytest.approx(reply.date + 0.5)
    world.clock.wall += 86_400
    assert world.client.server_now() == pytest.approx(reply.date + 0.5)
    world.clock.advance(60)
    assert world.client.server_now() == pytest.approx(reply.date + 60.5)


async def test_no_token_is_in_any_repr_or_event(tmp_path: Path, broker: FakeBroker) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, broker.url, kept=kept) as world:
        await world.sign_in(broker, ada())
        secret = await kept.get("session:user-ada")
        assert secret is not None
        access = await world.session.token_for("user-ada")
        events = [world.published.get_nowait() for _ in range(world.published.qsize())]
        told = repr(events) + repr(await world.session.view())
        assert secret not in told
        assert access not in told
    stored = (tmp_path / "outbox.db").read_bytes()
    assert secret.encode() not in stored
    assert access.encode() not in stored


def a_form(*pieces: bytes, fails: Exception | None = None) -> Form:
    async def come() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if fails is not None:
            raise fails

    return Form("multipart/form-data; boundary=cut", sum(map(len, pieces)), come())


async def test_a_part_of_a_file_goes_out_as_the_form_that_it_is(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    form = a_form(b"--cut\r\n", b"--cut--")
    assert (await world.notion.upload(ADA, "file_uploads/x/send", form, "2022-06-28")).ok
    headers = broker.calls[-1].headers
    assert headers["content-type"] == form.content_type
    assert (headers["content-length"], headers.get("transfer-encoding")) == ("14", None)
    assert headers["notion-version"] == "2022-06-28"
    assert headers["x-workspace-id"] == WORKSPACE_A


async def test_a_part_whose_sender_fails_says_nothing_of_the_network(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    before = world.connectivity.status
    with pytest.raises(InvalidInput, match="broke off"):
        await world.notion.upload(
            ADA, "file_uploads/x/send", a_form(b"x", fails=InvalidInput("It broke off.")), None
        )
    assert world.connectivity.status == before


async def test_a_part_sent_with_a_session_that_ended_is_not_sent_again(
    world: SessionStage, broker: FakeBroker
) -> None:
    await world.sign_in(broker, ada())
    broker.expire_access()
    with pytest.raises(BrokerUnreachable) as told:
        await world.notion.upload(ADA, "file_uploads/x/send", a_form(b"x"), None)
    assert not told.value.sent
    assert (await world.notion.upload(ADA, "file_uploads/x/send", a_form(b"x"), None)).ok


FOREIGN: list[tuple[int, Any]] = [
    (200, {"status": "ok"}),
    (200, []),
    (200, {"object": "error", "status": 404, "code": "object_not_found"}),
    (400, {"error": "Bad Request"}),
    (401, {"error": "unauthorized"}),
    (403, {"code": "1020"}),
    (404, {"error": "not_found", "code": "object_not_found"}),
    (404, {"object": "error", "status": 403, "code": "restricted_resource"}),
    (429, {"message": "API rate limit exceeded"}),
    (503, {"fault": {"faultstring": "no healthy upstream"}}),
]
"""Answers that gateways, firewalls and captive portals give in the broker's place."""


@pytest.mark.parametrize(("status", "body"), FOREIGN)
async def test_only_notion_and_the_broker_answer_a_call(
    world: SessionStage, broker: FakeBroker, status: int, body: Any
) -> None:
    await world.sign_in(broker, ada())
    broker.faults.append(Fault("status", "proxy", status, {"Retry-After": "5"}, body))
    with pytest.raises(BrokerUnreachable) as caught:
        await world.notion.send(ADA, Call("PATCH", "blocks/x/children", body=b"{}", key="k"))
    assert caught.value.sent
    assert caught.value.retry_after == 5.0
