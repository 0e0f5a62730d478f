"""Processes Stripe's events, verified and once each, and updates the tiers of accounts.

An account has the best tier of its subscriptions, so a cheaper purchase in another user's name
cannot lower it. The tier is computed with each event and, for all accounts, every hour: a price
that the settings name later takes effect then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cloud_broker.audit import Audit
from cloud_broker.billing.event import Change, Purchase, Snapshot, read
from cloud_broker.billing.signature import TOLERANCE_S, signed_at
from cloud_broker.billing.subscription_state import SubscriptionState, after_failure, after_snapshot
from cloud_broker.clock import Clock
from cloud_broker.errors import NotFound, WebhookStale, WebhookUnsigned
from cloud_broker.randomness import Randomness
from cloud_broker.secret import Secret
from cloud_broker.storage import accounts
from cloud_broker.storage import billing as rows
from cloud_broker.storage.audit import Fact
from cloud_broker.storage.database import Database, Row, Tx, to_ms
from cloud_broker.tariff import DEFAULT_TIER, TIERS, Tariff

log = logging.getLogger(__name__)

TakeResult = Literal["applied", "old", "duplicate", "ignored"]

KEPT_S = 30 * 86_400.0  # seconds: Stripe repeats events for 3 days, its dashboard for 30
SETTLE_S = 3600.0  # seconds between updates of all accounts
PAGE = 100
_NOTHING: dict[str, Any] = {
    "tier": DEFAULT_TIER,
    "status": "active",
    "stripe_customer_id": None,
    "stripe_subscription_id": None,
    "current_period_start": None,
    "current_period_end": None,
    "past_due_since": None,
}


@dataclass(frozen=True, slots=True)
class _Note:
    """A row for the audit log; without a user it has no subject."""

    event: str
    user_id: str
    facts: Mapping[str, Fact]
    subject: Mapping[str, Fact]


class Billing:
    """Processes Stripe's events; a loop calls ``run_once`` to keep accounts up to date."""

    def __init__(
        self,
        database: Database,
        tariff: Tariff,
        *,
        secrets: Sequence[Secret],
        audit: Audit,
        clock: Clock,
        randomness: Randomness,
        changed: Callable[[str], None],
    ) -> None:
        """``changed`` is called with each account whose subscription has changed."""
        self._database = database
        self._tariff = tariff
        self._secrets = tuple(secrets)
        self._audit = audit
        self._clock = clock
        self._random = randomness
        self._changed = changed

    async def take(self, body: bytes, signature: str | None) -> TakeResult:
        """Process the raw body of one request. The event is durable when this returns.

        Raises NotFound without billing settings, WebhookUnsigned, WebhookStale, InvalidInput.
        """
        if not self._secrets:
            raise NotFound("This broker accepts no billing events.")
        at = signed_at(self._secrets, body, signature)
        if at is None:
            raise WebhookUnsigned("The signature is not valid for this endpoint.")
        if abs(self._clock.now() - at) > TOLERANCE_S:
            raise WebhookStale("The request was not signed in the last five minutes.")
        event = read(body)
        if event.change is None:
            return "ignored"
        async with self._database.transaction() as tx:
            await rows.lock(tx)
            if not await rows.remember(tx, event.id, now=self._now()):
                return "duplicate"
            outcome, customer, notes = await self._learn(tx, event.change)
            owner = await rows.owner_of(tx, customer) if customer is not None else None
            update = await self._settle(tx, owner, why=event.type) if owner is not None else None
            await self._note(tx, *notes, update)
        if owner is not None and update is not None:
            self._changed(owner)
        return outcome

    async def run_once(self) -> float:
        """Update the tier of every account and delete old rows."""
        after = ""
        while True:
            async with self._database.reading() as tx:
                page = await rows.payers(tx, after, PAGE)
                found = [user_id for user_id in page if await self._differs(tx, user_id)]
            for user_id in found:
                async with self._database.transaction() as tx:
                    await rows.lock(tx)
                    await self._note(tx, await self._settle(tx, user_id, why="tariff"))
                self._changed(user_id)
            if len(page) < PAGE:
                break
            after = page[-1]
        async with self._database.transaction() as tx:
            await rows.sweep(tx, before=to_ms(self._clock.now() - KEPT_S))
        return SETTLE_S

    async def _learn(
        self, tx: Tx, change: Change
    ) -> tuple[TakeResult, str | None, tuple[_Note | None, ...]]:
        """Store a change; return the result, the customer and the rows for the audit log."""
        if isinstance(change, Purchase):
            outcome, note = await self._link(tx, change.customer_id, change.user_id)
            return outcome, change.customer_id, (note,)
        note = None
        row = await rows.subscription(tx, change.subscription_id)
        held = None if row is None else _state_of(row)
        if isinstance(change, Snapshot):
            if change.user_id is not None:
                _, note = await self._link(tx, change.customer_id, change.user_id)
            after, customer = after_snapshot(held, change), change.customer_id
        elif held is None:  # its first snapshot follows and has the same status
            return "ignored", None, ()
        else:
            after, customer = after_failure(held, change), held.snapshot.customer_id
        if after is None:
            return "old", customer, (note,)
        await rows.replace(tx, _row(after), now=self._now())
        return "applied", customer, (note,)

    async def _link(
        self, tx: Tx, customer_id: str, user_id: str
    ) -> tuple[TakeResult, _Note | None]:
        before = await rows.owner_of(tx, customer_id)
        owner = before or await rows.link_customer(tx, customer_id, user_id, now=self._now())
        subject = {"customer": customer_id}
        if owner != user_id:
            # The customer belongs to another account, or this account does not exist.
            why = "no_account" if owner is None else "customer_taken"
            return "ignored", _Note("customer_refused", owner or "", {"why": why}, subject)
        known = None if before else _Note("customer_known", user_id, {}, subject)
        return "applied", known

    async def _differs(self, tx: Tx, user_id: str) -> bool:
        now = await accounts.subscription(tx, user_id)
        return await self._wanted(tx, user_id, now) is not None

    async def _settle(self, tx: Tx, user_id: str, *, why: str) -> _Note | None:
        """Set the account's tier from its subscriptions; None when it is already set."""
        before = await accounts.subscription(tx, user_id)
        wanted = await self._wanted(tx, user_id, before)
        if wanted is None:
            return None
        await accounts.replace_subscription(
            tx, user_id, wanted, new_id=self._random.new_id(), now=self._now()
        )
        was = before or _NOTHING
        facts = {
            "why": why,
            "tier": wanted["tier"],
            "status": wanted["status"],
            "former_tier": was["tier"],
            "former_status": was["status"],
        }
        subject = {
            "customer": wanted["stripe_customer_id"],
            "subscription": wanted["stripe_subscription_id"],
        }
        return _Note("subscription_changed", user_id, facts, subject)

    async def _note(self, tx: Tx, *notes: _Note | None) -> None:
        """Write to the audit log last: its lock must not be held while waiting for a row."""
        for note in notes:
            if note is not None:
                subject = note.subject if note.user_id else {}
                await self._audit.write(
                    tx, note.event, note.user_id, facts=note.facts, subject=subject
                )

    async def _wanted(self, tx: Tx, user_id: str, before: Row | None) -> dict[str, Any] | None:
        """Return the account's new subscription; None when it is unchanged.

        A tier granted without Stripe stays until Stripe reports a subscription with a known price.
        """
        found = [_state_of(row) for row in await rows.subscriptions_of(tx, user_id)]
        ours = [bought for each in found if (bought := self._bought(each)) is not None]
        wanted = max(ours, key=self._worth, default=None)
        if wanted is None:
            if found:
                log.warning("An account pays for a price that BROKER_BILLING_TIERS does not name.")
            if before is None or before["stripe_subscription_id"] is None:
                return None
            wanted = _NOTHING
        return None if before == wanted else wanted

    def _bought(self, state: SubscriptionState) -> dict[str, Any] | None:
        snapshot = state.snapshot
        tier = self._tariff.bought(snapshot.prices)
        if tier is None:
            return None
        return {
            "tier": tier,
            "status": state.status,
            "stripe_customer_id": snapshot.customer_id,
            "stripe_subscription_id": snapshot.subscription_id,
            "current_period_start": _ms(snapshot.period_start),
            "current_period_end": _ms(snapshot.period_end),
            "past_due_since": _ms(state.past_due_since),
        }

    def _worth(self, bought: dict[str, Any]) -> tuple[int, int, str]:
        """Return the sort key of subscriptions: the tier in force now, then the period's end."""
        tier = self._tariff.in_force(
            bought["tier"], bought["status"], bought["past_due_since"], self._now()
        )
        ends = bought["current_period_end"] or 0
        return TIERS.index(tier), ends, bought["stripe_subscription_id"]

    def _now(self) -> int:
        return to_ms(self._clock.now())


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000


def _row(state: SubscriptionState) -> dict[str, Any]:
    snapshot = state.snapshot
    return {
        "id": snapshot.subscription_id,
        "customer_id": snapshot.customer_id,
        "status": snapshot.status,
        "prices": " ".join(snapshot.prices),
        "period_start": _ms(snapshot.period_start),
        "period_end": _ms(snapshot.period_end),
        "event_at": snapshot.at * 1000,
        "came_from": snapshot.came_from,
        "failed_at": _ms(state.failed_at),
        "past_due_since": _ms(state.past_due_since),
    }


def _state_of(row: Row) -> SubscriptionState:
    snapshot = Snapshot(
        subscription_id=row["id"],
        customer_id=row["customer_id"],
        status=row["status"],
        prices=tuple(row["prices"].split()),
        period_start=_seconds(row["period_start"]),
        period_end=_seconds(row["period_end"]),
        at=row["event_at"] // 1000,
        came_from=row["came_from"],
        user_id=None,
    )
    return SubscriptionState(snapshot, _seconds(row["failed_at"]), _seconds(row["past_due_since"]))
