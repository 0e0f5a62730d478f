"""The tier that counts, by status and time; the document shows the same table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from cloud_broker.tariff import STATUSES, Status, Tariff

DOCS = Path(__file__).parents[3] / "docs" / "billing.md"
SINCE, GRACE_MS = 1_800_000_000_000, 14 * 86_400_000
TARIFF = Tariff({"price_pro": "PRO", "prod_team": "TEAM"}, grace_s=GRACE_MS / 1000)


def test_the_document_says_what_each_status_is_worth() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.+) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert {status for status, _, _ in rows} == set(STATUSES)
    for status, stored, worth in rows:
        assert status == stored
        early = TARIFF.in_force("PRO", status, SINCE, SINCE)
        late = TARIFF.in_force("PRO", status, SINCE, SINCE + GRACE_MS)
        expected = {
            "the bought tier": ("PRO", "PRO"),
            "the bought tier, for the grace; then FREE": ("PRO", "FREE"),
            "FREE": ("FREE", "FREE"),
        }
        assert (early, late) == expected[worth], status


def test_the_grace_ends_to_the_millisecond() -> None:
    last = SINCE + GRACE_MS - 1
    assert TARIFF.in_force("TEAM", "past_due", SINCE, last) == "TEAM"
    assert TARIFF.in_force("TEAM", "past_due", SINCE, last + 1) == "FREE"


@pytest.mark.parametrize("tier", [None, "", "pro", "GOLD"])
@pytest.mark.parametrize("status", [*get_args(Status), None, "new"])
def test_who_has_no_known_tier_is_free(tier: str | None, status: str | None) -> None:
    assert TARIFF.in_force(tier, status, SINCE, SINCE) == "FREE"


@pytest.mark.parametrize("status", [None, "", "new"])
def test_a_status_that_is_not_known_is_worth_nothing(status: str | None) -> None:
    assert TARIFF.in_force("PRO", status, SINCE, SINCE) == "FREE"


def test_past_due_since_never_is_without_grace() -> None:
    assert TARIFF.in_force("PRO", "past_due", None, SINCE) == "FREE"


def test_the_highest_tier_of_several_prices_is_bought() -> None:
    assert TARIFF.bought(["price_other", "prod_pro"]) is None
    assert TARIFF.bought([]) is None
    assert TARIFF.bought(["price_pro"]) == "PRO"
    assert TARIFF.bought(["prod_team", "price_other", "price_pro"]) == "TEAM"
