"""Stripe's signature: valid and forged ones."""

from __future__ import annotations

import pytest

from cloud_broker.billing.signature import signed_at
from cloud_broker.secret import Secret
from tests.cloud_broker.billing.stripe_events import OLD_SECRET, SECRET, signature

BODY = b'{\n  "id": "evt_1"\n}'
AT = 1_800_000_000
SECRETS = (Secret(SECRET), Secret(OLD_SECRET))
GOOD = signature(BODY, AT)
V1 = GOOD.partition(",")[2]
FORGED = "v1=" + "0" * 64


def test_a_signature_that_another_program_made_is_genuine() -> None:
    # printf '1492774577.{}' | openssl dgst -sha256 -hmac whsec_test_secret
    digest = "53140ab8fa70c511cc40d5c9198af7dde7bbaee877038c056d8250c3bd3b2e11"
    header = f"t=1492774577,v1={digest}"
    assert signed_at([Secret("whsec_test_secret")], b"{}", header) == 1492774577


@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        signature(BODY, AT, OLD_SECRET),
        f"t={AT},{FORGED},{V1}",
        f"t={AT},{V1},{FORGED}",
        f"{V1},t={AT}",
        f"{GOOD},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39",
        f"t={AT}, {V1}",
    ],
)
def test_one_signature_of_one_secret_is_enough(header: str) -> None:
    assert signed_at(SECRETS, BODY, header) == AT


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t",
        "t=,v1=",
        V1,
        f"t={AT}",
        f"t={AT},{FORGED}",
        f"t={AT},v1=",
        f"t={AT},v1={'é' * 32}",
        f"t={AT},v1=\udcff",
        f"t={AT},{V1.upper()}",
        f"t={AT},v0={V1[3:]}",  # the scheme that only tests use
        f"t={AT + 1},{V1}",
        f"t={AT},t={AT},{V1}",
        f"t={AT}.0,{V1}",
        f"t=-{AT},{V1}",
        f"t=٣,{V1}",
        f"t={'9' * 13},{V1}",
        signature(BODY, AT, "whsec_of_somebody_else"),
        signature(BODY + b" ", AT),
        signature(b"", AT),
    ],
)
def test_everything_else_is_forged(header: str | None) -> None:
    assert signed_at(SECRETS, BODY, header) is None


def test_without_secrets_nothing_is_genuine() -> None:
    assert signed_at([], BODY, GOOD) is None
