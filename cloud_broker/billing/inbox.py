"""Taking Stripe's events: verified, once each, in their order; then accounts have their tier.

What an account has bought is the best of its subscriptions, so that nobody can take a tier away by
paying for less in somebody else's name. It is found anew with each event, and for everybody every
hour: a price that the settings learn later counts then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cloud_broker.audit import Audit
from cloud_broker.billing.event import Purchase, Snapshot, Told, read
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

Outcome = Literal["applied", "old", "duplicate", "ignored"]

KEPT_S = 30 * 86_400.0  # ids of events: Stripe repeats one for three days, a person for thirty
SETTLE_S = 3600.0
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
    """A row for the audit log; nobody's row names no one."""

    event: str
    user_id: str
    facts: Mapping[str, Fact]
    subject: Mapping[str, Fact]


class Billing:
    """What Stripe says of who pays; ``turn``, again and again, keeps accounts up to date."""

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
        """``changed`` is called with each account whose subscription is another now."""
        self._database = database
        self._tariff = tariff
        self._secrets = tuple(secrets)
        self._audit = audit
        self._clock = clock
        self._random = randomness
        self._changed = changed

    async def take(self, body: bytes, signature: str | None) -> Outcome:
        """Take one request's raw body. Durable when it returns.

        Raises NotFound where no billing is expected, WebhookUnsigned, WebhookStale, InvalidInput.
        """
        if not self._secrets:
            raise NotFound("This broker takes no billing events.")
        at = signed_at(self._secrets, body, signature)
        if at is None:
            raise WebhookUnsigned("The signature is not that of this endpoint.")
        if abs(self._clock.now() - at) > TOLERANCE_S:
            raise WebhookStale("The request was not signed in the last five minutes.")
        event = read(body)
        if event.told is None:
            return "ignored"
        async with self._database.transaction() as tx:
            await rows.lock(tx)
            if not await rows.remember(tx, event.id, now=self._now()):
                return "duplicate"
            outcome, customer, notes = await self._learn(tx, event.told)
            owner = await rows.owner_of(tx, customer) if customer is not None else None
            change = await self._settle(tx, owner, why=event.type) if owner is not None else None
            await self._note(tx, *notes, change)
        if owner is not None and change is not None:
            self._changed(owner)
        return outcome

    async def run_once(self) -> float:
        """Bring every account up to date and forget what is old."""
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
        self, tx: Tx, told: Told
    ) -> tuple[Outcome, str | None, tuple[_Note | None, ...]]:
        """Keep what an event tells: what became of it, which customer it concerns, what to note."""
        if isinstance(told, Purchase):
            outcome, note = await self._tie(tx, told.customer_id, told.user_id)
            return outcome, told.customer_id, (note,)
        note = None
        row = await rows.subscription(tx, told.subscription_id)
        held = None if row is None else _held(row)
        if isinstance(told, Snapshot):
            if told.user_id is not None:
                _, note = await self._tie(tx, told.customer_id, told.user_id)
            after, customer = after_snapshot(held, told), told.customer_id
        elif held is None:  # its first snapshot is still to come, and says so itself
            return "ignored", None, ()
        else:
            after, customer = after_failure(held, told), held.snapshot.customer_id
        if after is None:
            return "old", customer, (note,)
        await rows.replace(tx, _row(after), now=self._now())
        return "applied", customer, (note,)

    async def _tie(self, tx: Tx, customer_id: str, user_id: str) -> tuple[Outcome, _Note | None]:
        before = await rows.owner_of(tx, customer_id)
        owner = before or await rows.tie(tx, customer_id, user_id, now=self._now())
        subject = {"customer": customer_id}
        if owner != user_id:
            # A customer who is another account's stays so; or this account is gone.
            why = "no_account" if owner is None else "customer_taken"
            return "ignored", _Note("customer_refused", owner or "", {"why": why}, subject)
        known = None if before else _Note("customer_known", user_id, {}, subject)
        return "applied", known

    async def _differs(self, tx: Tx, user_id: str) -> bool:
        now = await accounts.subscription(tx, user_id)
        return await self._wanted(tx, user_id, now) is not None

    async def _settle(self, tx: Tx, user_id: str, *, why: str) -> _Note | None:
        """Give the account what its subscriptions are worth; None when it has that already."""
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
        """Write notes into the audit log, last: whoever holds its lock should wait for no row."""
        for note in notes:
            if note is not None:
                subject = note.subject if note.user_id else {}
                await self._audit.write(
                    tx, note.event, note.user_id, facts=note.facts, subject=subject
                )

    async def _wanted(self, tx: Tx, user_id: str, before: Row | None) -> dict[str, Any] | None:
        """What the account's subscription should say; None when it says so already.

        What was given without Stripe stays until Stripe knows a subscription of ours.
        """
        found = [_held(row) for row in await rows.subscriptions_of(tx, user_id)]
        ours = [bought for each in found if (bought := self._bought(each)) is not None]
        wanted = max(ours, key=self._worth, default=None)
        if wanted is None:
            if found:
                log.warning("an account pays for prices that BROKER_BILLING_TIERS does not name")
            if before is None or before["stripe_subscription_id"] is None:
                return None
            wanted = _NOTHING
        return None if before == wanted else wanted

    def _bought(self, held: SubscriptionState) -> dict[str, Any] | None:
        told = held.snapshot
        tier = self._tariff.bought(told.prices)
        if tier is None:
            return None
        return {
            "tier": tier,
            "status": held.status,
            "stripe_customer_id": told.customer_id,
            "stripe_subscription_id": told.subscription_id,
            "current_period_start": _ms(told.period_start),
            "current_period_end": _ms(told.period_end),
            "past_due_since": _ms(held.past_due_since),
        }

    def _worth(self, bought: dict[str, Any]) -> tuple[int, int, str]:
        """The order of subscriptions: by the tier in force now, then by their period's end."""
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


def _row(held: SubscriptionState) -> dict[str, Any]:
    told = held.snapshot
    return {
        "id": told.subscription_id,
        "customer_id": told.customer_id,
        "status": told.status,
        "prices": " ".join(told.prices),
        "period_start": _ms(told.period_start),
        "period_end": _ms(told.period_end),
        "event_at": told.at * 1000,
        "came_from": told.came_from,
        "failed_at": _ms(held.failed_at),
        "past_due_since": _ms(held.past_due_since),
    }


def _held(row: Row) -> SubscriptionState:
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
