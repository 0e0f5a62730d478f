"""How a subscription stands after events that come late, twice or out of order (pure).

Stripe promises no order (https://docs.stripe.com/webhooks#event-ordering), and its ``created``
has no fraction of a second. Every snapshot is whole, so nothing is lost by passing an older one
over; a payment that failed is kept beside the snapshot, so that the two may come either way round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloud_broker.billing.event import FailedPayment, Snapshot
from cloud_broker.tariff import PAID, Status

FINAL = frozenset({"canceled", "incomplete_expired"})  # a subscription never leaves these


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription's newest snapshot, with its last failed payment (epoch seconds).

    ``past_due_since``: the event that first told of an unpaid period, while there is one.
    """

    snapshot: Snapshot
    failed_at: int | None = None
    past_due_since: int | None = None

    @property
    def status(self) -> Status:
        """Stripe's status, or ``past_due`` where a failed payment is newer than the snapshot.

        Of the same second the snapshot counts: Stripe tells the change of status with one of its
        own, and a wrong ``past_due`` would stand until the next period.
        """
        told = self.snapshot
        if told.status in PAID and self.failed_at is not None and self.failed_at > told.at:
            return "past_due"
        return told.status


def is_newer(held: Snapshot, told: Snapshot) -> bool:
    """Whether ``told`` replaces ``held``, another snapshot of the same subscription.

    An end is final, whatever its time. Else the later counts. Of the same second: a creation came
    before everything else; what the held one says that it replaced came before it; and where
    neither helps, the one that arrives later.
    """
    if held.status in FINAL or told.status in FINAL:
        return held.status not in FINAL
    if held.at != told.at:
        return told.at > held.at
    if not held.came_from or not told.came_from:
        return bool(told.came_from)
    return held.came_from != told.state or told.came_from == held.state


def after_snapshot(held: SubscriptionState | None, told: Snapshot) -> SubscriptionState | None:
    """The standing once ``told`` is taken in; None when it is older than what is known."""
    if held is None:
        return _since(None, SubscriptionState(told), told.at)
    if not is_newer(held.snapshot, told):
        return None
    return _since(held, replace(held, snapshot=told), told.at)


def after_failure(held: SubscriptionState, told: FailedPayment) -> SubscriptionState | None:
    """The standing once a failed payment is taken in; None when it is older than what is known."""
    if held.failed_at is not None and told.at <= held.failed_at:
        return None
    return _since(held, replace(held, failed_at=told.at), told.at)


def _since(
    before: SubscriptionState | None, after: SubscriptionState, at: int
) -> SubscriptionState:
    if after.status != "past_due":
        return replace(after, past_due_since=None)
    if before is not None and before.past_due_since is not None:
        return after
    return replace(after, past_due_since=at)
