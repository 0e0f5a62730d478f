"""A token is valid only if this broker signed it, for this use, and it has not expired."""

from __future__ import annotations

import base64
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_broker.crypto.signing import ACCESS, HANDOFF, Signer, TokenRejected
from tests.clocks import ManualClock

ISSUER = "https://broker.example"
SEED, OTHER = b"s" * 32, b"o" * 32
CLOCK = ManualClock()
NOW = int(CLOCK.now())
CLAIMS = {"sub": "user", "jti": "j", "sid": "s"}
GOOD: dict[str, Any] = {
    "sub": "user",
    "jti": "j",
    "sid": "s",
    "iss": ISSUER,
    "aud": f"{ISSUER}/api",
    "iat": NOW,
    "exp": NOW + 60,
}


def a_signer(clock: ManualClock = CLOCK, **keys: bytes) -> Signer:
    return Signer(list((keys or {"one": SEED}).items()), issuer=ISSUER, clock=clock)


def forged(claims: dict[str, Any], seed: bytes = SEED, **headers: Any) -> str:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return jwt.encode(
        claims, key, algorithm="EdDSA", headers={"kid": "one", "typ": ACCESS, **headers}
    )


def test_what_it_signs_it_takes() -> None:
    token = a_signer().sign(ACCESS, CLAIMS, life_s=60)
    assert a_signer().verify(token, ACCESS)["sub"] == "user"


def test_the_forger_of_these_tests_can_make_a_good_one() -> None:
    assert a_signer().verify(forged(GOOD), ACCESS)["sid"] == "s"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forged(GOOD, seed=OTHER), id="another key"),
        pytest.param(forged(GOOD, kid="two"), id="unknown kid"),
        pytest.param(forged(GOOD, typ="JWT"), id="plain typ"),
        pytest.param(forged(GOOD, typ=HANDOFF), id="another use"),
        pytest.param(forged(GOOD, crit=["exp"]), id="crit"),
        pytest.param(forged(GOOD, crit=["b64"], b64=True), id="crit that the library knows"),
        pytest.param(forged({**GOOD, "iss": ISSUER + ".evil"}), id="issuer"),
        pytest.param(forged({**GOOD, "aud": f"{ISSUER}/api/auth/token"}), id="audience"),
        pytest.param(forged({**GOOD, "exp": NOW}), id="expired"),
        pytest.param(forged({**GOOD, "exp": NOW + 0.5}), id="fractional"),
        pytest.param(forged({**GOOD, "exp": True}), id="no number"),
        pytest.param(forged({**GOOD, "iat": NOW + 120}), id="from the future"),
        *(
            pytest.param(forged({k: v for k, v in GOOD.items() if k != name}), id=f"no {name}")
            for name in ("iss", "aud", "sub", "iat", "exp", "jti", "sid")
        ),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="garbage"),
        pytest.param("e30.e30.", id="unsigned"),
        pytest.param("x" * 5000, id="long"),
        pytest.param("é.é.é", id="not ascii"),
    ],
)
def test_it_refuses(token: str) -> None:
    with pytest.raises(TokenRejected):
        a_signer().verify(token, ACCESS)


def test_none_and_a_mac_with_the_public_key_are_no_signatures() -> None:
    public = base64.urlsafe_b64decode(a_signer().public_keys()["keys"][0]["x"] + "=")
    headers = {"kid": "one", "typ": ACCESS}
    unsigned = jwt.encode(GOOD, "", algorithm="none", headers=headers)
    mac = jwt.encode(GOOD, public, algorithm="HS256", headers=headers)
    for token in (unsigned, mac):
        with pytest.raises(TokenRejected):
            a_signer().verify(token, ACCESS)


def test_a_token_ends_by_the_brokers_clock() -> None:
    clock = ManualClock()
    signer = a_signer(clock)
    token = signer.sign(ACCESS, CLAIMS, life_s=60)
    clock.advance(60)
    with pytest.raises(TokenRejected):
        signer.verify(token, ACCESS)


def test_keys_change_without_a_gap() -> None:
    before = a_signer(old=SEED)
    after = a_signer(new=OTHER, old=SEED)
    token = before.sign(ACCESS, CLAIMS, life_s=60)
    assert after.verify(token, ACCESS)["sub"] == "user"
    fresh = after.sign(ACCESS, CLAIMS, life_s=60)
    assert jwt.get_unverified_header(fresh)["kid"] == "new"
    assert [key["kid"] for key in after.public_keys()["keys"]] == ["new", "old"]
