"""Computes an account's tier from its purchase and the state of its subscription (pure).

``docs/billing.md`` shows the same table (a test compares).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

Tier = Literal["FREE", "PRO", "TEAM"]
Status = Literal[
    "trialing",
    "active",
    "past_due",
    "paused",
    "incomplete",
    "incomplete_expired",
    "unpaid",
    "canceled",
]  # https://docs.stripe.com/api/subscriptions/object#subscription_object-status

TIERS: tuple[Tier, ...] = get_args(Tier)  # from the least to the most
STATUSES: frozenset[Status] = frozenset(get_args(Status))
DEFAULT_TIER: Tier = "FREE"
PAID: frozenset[str] = frozenset({"trialing", "active"})


def is_tier(text: object) -> TypeGuard[Tier]:
    """Whether ``text`` names a tier."""
    return text in TIERS


def is_status(text: object) -> TypeGuard[Status]:
    """Whether ``text`` is a status that a subscription may have."""
    return text in STATUSES


@dataclass(frozen=True, slots=True)
class Tariff:
    """``prices``: ids of Stripe's prices or products to tiers. ``grace_s``: see ``in_force``."""

    prices: Mapping[str, Tier]
    grace_s: float

    def bought(self, ids: Iterable[str]) -> Tier | None:
        """Return the highest tier that these prices or products buy; None if none is ours."""
        found = [self.prices[each] for each in ids if each in self.prices]
        return max(found, key=TIERS.index, default=None)

    def in_force(
        self, tier: str | None, status: str | None, past_due_since: int | None, now: int
    ) -> Tier:
        """Return the tier that counts at ``now``; times in ms.

        The bought tier counts while it is paid or on trial, and for ``grace_s`` after a failed
        payment. FREE counts in every other case, unknown values included.
        """
        if not is_tier(tier):
            return DEFAULT_TIER
        if status in PAID:
            return tier
        if status == "past_due" and past_due_since is not None:
            return tier if now < past_due_since + self.grace_s * 1000 else DEFAULT_TIER
        return DEFAULT_TIER
