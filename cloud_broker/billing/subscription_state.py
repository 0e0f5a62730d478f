"""Computes the state of a subscription from events that may be late or out of order (pure).

Stripe guarantees no order (https://docs.stripe.com/webhooks#event-ordering), and its ``created``
has no fraction of a second. Every snapshot is complete, so an older one can be ignored. A failed
payment is stored beside the snapshot, so that the two can arrive in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloud_broker.billing.event import FailedPayment, Snapshot
from cloud_broker.tariff import PAID, Status

FINAL = frozenset({"canceled", "incomplete_expired"})  # a subscription never leaves these


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription's newest snapshot, with its last failed payment (epoch seconds).

    ``past_due_since``: the time of the event that first reported the current unpaid period.
    """

    snapshot: Snapshot
    failed_at: int | None = None
    past_due_since: int | None = None

    @property
    def status(self) -> Status:
        """Stripe's status, or ``past_due`` if a failed payment is newer than the snapshot.

        Within the same second the snapshot wins: Stripe reports the change of status with a
        snapshot of its own, and a wrong ``past_due`` would last until the next period.
        """
        snapshot = self.snapshot
        if snapshot.status in PAID and self.failed_at is not None and self.failed_at > snapshot.at:
            return "past_due"
        return snapshot.status


def is_newer(held: Snapshot, received: Snapshot) -> bool:
    """Return whether ``received`` replaces ``held``, a snapshot of the same subscription.

    A final status wins, at any time. Otherwise the later snapshot wins. Within the same second a
    creation is the oldest, and the state that ``held`` replaced is older than ``held``; if neither
    rule decides, the snapshot received last wins.
    """
    if held.status in FINAL or received.status in FINAL:
        return held.status not in FINAL
    if held.at != received.at:
        return received.at > held.at
    if not held.came_from or not received.came_from:
        return bool(received.came_from)
    return held.came_from != received.state or received.came_from == held.state


def after_snapshot(held: SubscriptionState | None, received: Snapshot) -> SubscriptionState | None:
    """Return the state after the snapshot ``received``; None when it is outdated."""
    if held is None:
        return _since(None, SubscriptionState(received), received.at)
    if not is_newer(held.snapshot, received):
        return None
    return _since(held, replace(held, snapshot=received), received.at)


def after_failure(held: SubscriptionState, received: FailedPayment) -> SubscriptionState | None:
    """Return the state after a failed payment; None when it is outdated."""
    if held.failed_at is not None and received.at <= held.failed_at:
        return None
    return _since(held, replace(held, failed_at=received.at), received.at)


def _since(
    before: SubscriptionState | None, after: SubscriptionState, at: int
) -> SubscriptionState:
    if after.status != "past_due":
        return replace(after, past_due_since=None)
    if before is not None and before.past_due_since is not None:
        return after
    return replace(after, past_due_since=at)
