"""Limits by address before sign-in, and the address that counts."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloud_broker.web.auth import CALLBACKS, SIGN_INS, TOKENS
from cloud_broker.web.rate_limit import address_of
from cloud_broker.web.user import EXPORTS
from tests.cloud_broker.broker_stage import HTML, BrokerStage, bearer

PROXIES = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # not a proxy of ours: not believed
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),  # the left one is hearsay
        ("127.0.0.1", ["198.51.100.1", "10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", [], "2001:db8::/64"),
        ("2001:db8::ffff:2", [], "2001:db8::/64"),
        (None, ["198.51.100.1"], "unknown"),
    ],
)
def test_an_address_is_the_first_that_no_trusted_proxy_has(
    peer: str | None, forwarded: list[str], address: str
) -> None:
    assert address_of(peer, forwarded, PROXIES) == address


async def test_one_address_begins_only_so_many_sign_ins_a_minute(stage: BrokerStage) -> None:
    for _ in range(SIGN_INS):
        assert (await stage.begin_sign_in()).status == 302
    refused = await stage.begin_sign_in()
    assert (refused.status, (await refused.json())["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) >= 1
    async with stage.database.reading() as tx:
        assert len(await tx.all("SELECT 1 AS one FROM oauth_states")) == SIGN_INS
    other = await stage.browser.get("/api/auth/notion", headers={"X-Forwarded-For": "198.51.100.1"})
    assert other.status == 400  # let through, and read
    stage.clock.advance(61)
    assert (await stage.begin_sign_in()).status == 302


async def test_one_address_guesses_only_so_many_tokens_a_minute(stage: BrokerStage) -> None:
    for _ in range(TOKENS):
        assert (await stage.refresh("guess")).status == 400
    assert (await stage.refresh("guess")).status == 429


async def test_a_callback_over_the_limit_uses_nothing_up(stage: BrokerStage) -> None:
    for _ in range(CALLBACKS):
        assert (await stage.complete_sign_in(state="x")).status == 400
    refused = await stage.complete_sign_in(state="x")
    assert refused.status == 429
    assert refused.content_type == HTML["Accept"]
    assert "Set-Cookie" not in refused.headers


async def test_an_account_exports_only_so_often(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    found = [
        (await stage.browser.get("/api/user/export", headers=bearer(token))).status
        for _ in range(EXPORTS + 1)
    ]
    assert found == [200] * EXPORTS + [429]
