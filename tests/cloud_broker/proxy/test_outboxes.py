"""A queue file that was copied or set back is refused before anything is sent."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientResponse

from cloud_broker.proxy.errors import InvalidRequest
from cloud_broker.proxy.keys import parse_outbox
from cloud_broker.storage.outboxes import OutboxMark
from tests.cloud_broker.proxy.proxy_stage import PAGE, WORKSPACE, Held, ProxyStage, says

SENT = (200, None)
BEHIND = (409, "outbox_behind")


async def send(
    proxy: ProxyStage, line: str, *, key: str | None = None, user: str = "ada"
) -> ClientResponse:
    headers = {
        "X-Workspace-Id": WORKSPACE,
        "Idempotency-Key": key or proxy.key(),
        "Idempotency-Key-Use": "once",
        "X-Outbox": line,
    }
    body = {"children": [{"paragraph": {"text": "x"}}]}
    path = f"blocks/{PAGE}/children"
    return await proxy.call("PATCH", path, user=user, headers=headers, json=body)


async def sign(proxy: ProxyStage, line: str, **more: str) -> tuple[int, str | None]:
    answer = await send(proxy, line, **more)
    return answer.status, answer.headers.get("X-Broker-Code")


async def test_of_two_copies_that_never_sent_the_second_is_refused(proxy: ProxyStage) -> None:
    assert await sign(proxy, "box aa:1:5") == SENT
    answer = await send(proxy, "box bb:1:7")
    assert (answer.status, answer.headers["X-Broker-Code"]) == BEHIND
    told = (await answer.json())["additional_data"]
    assert (told["run"], told["counter"], told["newest_clip"]) == ("aa", "1", "5")
    assert len(proxy.upstream.applied) == 1
    assert await sign(proxy, "box aa:2:5") == SENT


async def test_a_refusal_spends_the_key(proxy: ProxyStage) -> None:
    assert await sign(proxy, "box aa:1:5") == SENT
    key = proxy.key()
    assert await sign(proxy, "box bb:1:7", key=key) == BEHIND
    assert await sign(proxy, "box aa:2:5", key=key) == (409, "idempotency_key_spent")
    assert len(proxy.upstream.applied) == 1


async def test_the_next_run_on_the_same_file_goes_on(proxy: ProxyStage) -> None:
    assert await sign(proxy, "box aa:1:5") == SENT
    assert await sign(proxy, "box bb:3:7 aa:2") == SENT
    assert await sign(proxy, "box dd:5:7 cc:4 bb:3 aa:2") == SENT  # no request of cc arrived


async def test_requests_of_one_run_may_overtake_each_other(proxy: ProxyStage) -> None:
    assert await sign(proxy, "box aa:3:5") == SENT
    assert await sign(proxy, "box aa:1:5") == SENT
    assert await sign(proxy, "box bb:4:5 aa:2") == BEHIND
    assert await sign(proxy, "box bb:4:5 aa:3") == SENT


async def test_a_file_set_back_is_refused_though_its_counter_has_grown(proxy: ProxyStage) -> None:
    for number in range(1, 6):
        assert await sign(proxy, f"box aa:{number}:5") == SENT
    assert await sign(proxy, "box bb:40:5 aa:3") == BEHIND


async def test_a_running_copy_is_refused_when_another_has_taken_over(proxy: ProxyStage) -> None:
    assert await sign(proxy, "box aa:1:5") == SENT
    assert await sign(proxy, "box bb:2:5 aa:1") == SENT
    assert await sign(proxy, "box aa:2:5") == BEHIND


async def test_a_machine_set_back_with_its_memory_is_refused(proxy: ProxyStage) -> None:
    for number in (1, 2, 3):
        assert await sign(proxy, f"box aa:{number}:5") == SENT
    assert await sign(proxy, "box aa:2:5") == BEHIND  # the same run and number, another key
    assert len(proxy.upstream.applied) == 3


async def test_a_stored_outcome_is_repeated_for_a_copy_too(proxy: ProxyStage) -> None:
    key = proxy.key()
    assert await sign(proxy, "box aa:1:5", key=key) == SENT
    assert await sign(proxy, "box aa:2:5") == SENT
    again = await send(proxy, "box bb:1:5 aa:1", key=key)
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_a_refusal_by_notion_counts_as_sent(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(400)]
    assert (await sign(proxy, "box aa:1:5"))[0] == 400
    assert await sign(proxy, "box bb:1:5") == BEHIND


async def test_each_account_and_outbox_has_its_own_line(proxy: ProxyStage) -> None:
    assert await sign(proxy, "box aa:1:5") == SENT
    assert await sign(proxy, "box bb:1:5", user="bea") == SENT
    assert await sign(proxy, "other bb:1:5") == SENT


async def test_two_copies_at_the_same_moment_send_once(proxy: ProxyStage) -> None:
    held = Held(proxy.upstream)
    first = asyncio.create_task(sign(proxy, "box aa:1:5"))
    await held.arrived.wait()
    assert await sign(proxy, "box bb:1:5") == BEHIND
    held.gate.set()
    assert await first == SENT


def test_it_reads_the_header() -> None:
    line = parse_outbox("0199-a b1:7:30 a0:6 90:2")
    assert line == OutboxMark("0199-a", "b1", 7, 30, (("a0", 6), ("90", 2)))


@pytest.mark.parametrize("text", ["", "box", "box aa:1", "box aa:1:2 bb", "b\n aa:1:2", "b é:1:2"])
def test_it_refuses_another_text(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_outbox(text)
