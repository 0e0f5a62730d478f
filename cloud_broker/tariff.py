"""Which tier counts: from what was bought and how the subscription stands (pure).

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
EVERYBODYS: Tier = "FREE"
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
        """The highest tier that one of these prices or products buys; None: it is not ours."""
        found = [self.prices[each] for each in ids if each in self.prices]
        return max(found, key=TIERS.index, default=None)

    def in_force(
        self, tier: str | None, status: str | None, past_due_since: int | None, now: int
    ) -> Tier:
        """The tier that counts at ``now``; moments in ms.

        What was bought while it is paid or on trial, and for ``grace_s`` after a payment failed;
        FREE in every other case, whatever is not known included.
        """
        if not is_tier(tier):
            return EVERYBODYS
        if status in PAID:
            return tier
        if status == "past_due" and past_due_since is not None:
            return tier if now < past_due_since + self.grace_s * 1000 else EVERYBODYS
        return EVERYBODYS
