"""Parses one event of Stripe's: a subscription, a purchase or a failed payment (pure).

https://docs.stripe.com/api/events/object. It reads only the fields named here, which
``docs/billing.md`` lists, and ignores unknown fields and statuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from cloud_broker.errors import InvalidInput
from cloud_broker.tariff import Status, is_status

T = TypeVar("T")
_SUBSCRIPTION = "customer.subscription."
_CHANGES = frozenset({"created", "updated", "deleted", "paused", "resumed"})
_UNPAID = frozenset({"subscription_cycle", "subscription_update", "subscription_threshold"})
_ID = re.compile(r"\A[!-~]{1,200}\Z")  # ids of old accounts have no fixed form
_USER = re.compile(r"\A[A-Za-z0-9-]{1,64}\Z", re.ASCII)  # the id of an account here
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=10**11)]


class _Data(msgspec.Struct):
    object: msgspec.Raw
    previous_attributes: msgspec.Raw = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct):
    id: str
    type: str
    created: _Seconds
    data: _Data


class _Price(msgspec.Struct):
    id: str
    product: str | None = None


class _Item(msgspec.Struct):
    price: _Price | None = None
    current_period_start: _Seconds | None = None  # here since API version 2025-03-31
    current_period_end: _Seconds | None = None


class _Items(msgspec.Struct):
    data: list[_Item] = []


class _Subscription(msgspec.Struct):
    id: str
    customer: str
    status: str
    items: _Items
    metadata: dict[str, str] | None = None
    current_period_start: _Seconds | None = None  # here before that version
    current_period_end: _Seconds | None = None


class _Previous(msgspec.Struct):
    """The previous values of the fields that an update changed."""

    status: str | None = None
    items: _Items | None = None


class _Session(msgspec.Struct):
    customer: str | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None


class _Details(msgspec.Struct):
    subscription: str | None = None


class _Parent(msgspec.Struct):
    subscription_details: _Details | None = None


class _Invoice(msgspec.Struct):
    billing_reason: str | None = None
    subscription: str | None = None  # before API version 2025-03-31
    parent: _Parent | None = None  # since


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A subscription at the time ``at`` (epoch seconds; Stripe sends no fraction).

    ``prices``: ids of prices and products. ``came_from``: the ``state`` that the event replaced,
    empty for a creation. ``user_id``: the account, if the subscription's metadata name it.
    """

    subscription_id: str
    customer_id: str
    status: Status
    prices: tuple[str, ...]
    period_start: int | None
    period_end: int | None
    at: int
    came_from: str
    user_id: str | None

    @property
    def state(self) -> str:
        """The part that decides a tier."""
        return state_of(self.status, self.prices)


@dataclass(frozen=True, slots=True)
class Purchase:
    """Links a customer of Stripe's to an account."""

    customer_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class FailedPayment:
    """Stripe could not charge the current period of a subscription; ``at`` in epoch seconds."""

    subscription_id: str
    at: int


Change = Snapshot | Purchase | FailedPayment


@dataclass(frozen=True, slots=True)
class BillingEvent:
    """An event; ``change`` is None when it changes nothing here."""

    id: str
    type: str
    change: Change | None


def state_of(status: str, prices: tuple[str, ...]) -> str:
    """Return a status and prices as one text."""
    return " ".join((status, *prices))


def read(body: bytes) -> BillingEvent:
    """Parse an event with a valid signature. Raises InvalidInput."""
    envelope = _decoded(body, _Envelope)
    _check(envelope.id)
    kind = envelope.type
    change: Change | None = None
    if kind.startswith(_SUBSCRIPTION) and kind.removeprefix(_SUBSCRIPTION) in _CHANGES:
        change = _snapshot(envelope, kind.removeprefix(_SUBSCRIPTION))
    elif kind == "checkout.session.completed":
        change = _purchase(_decoded(envelope.data.object, _Session))
    elif kind == "invoice.payment_failed":
        change = _failed(_decoded(envelope.data.object, _Invoice), envelope.created)
    return BillingEvent(envelope.id, kind, change)


def _snapshot(envelope: _Envelope, kind: str) -> Snapshot | None:
    found = _decoded(envelope.data.object, _Subscription)
    _check(found.id, found.customer)
    status = "canceled" if kind == "deleted" else found.status
    if not is_status(status):
        return None
    prices = _ids(found.items)
    starts = [item.current_period_start for item in found.items.data]
    ends = [item.current_period_end for item in found.items.data]
    return Snapshot(
        subscription_id=found.id,
        customer_id=found.customer,
        status=status,
        prices=prices,
        period_start=_latest(found.current_period_start, *starts),
        period_end=_latest(found.current_period_end, *ends),
        at=envelope.created,
        came_from="" if kind == "created" else _before(envelope, found.status, prices),
        user_id=_user((found.metadata or {}).get("user_id")),
    )


def _before(envelope: _Envelope, status: str, prices: tuple[str, ...]) -> str:
    raw = bytes(envelope.data.previous_attributes)
    before = _decoded(raw, _Previous) if raw != b"null" else _Previous()
    was = prices if before.items is None else _ids(before.items)
    return state_of(before.status or status, was)


def _purchase(session: _Session) -> Purchase | None:
    named = session.client_reference_id or (session.metadata or {}).get("user_id")
    user_id = _user(named)
    if session.customer is None or user_id is None:
        return None
    _check(session.customer)
    return Purchase(session.customer, user_id)


def _failed(invoice: _Invoice, at: int) -> FailedPayment | None:
    """Return None for a first payment (the subscription is ``incomplete``) or another reason."""
    details = invoice.parent.subscription_details if invoice.parent is not None else None
    found = invoice.subscription or (details.subscription if details is not None else None)
    if found is None or invoice.billing_reason not in _UNPAID:
        return None
    _check(found)
    return FailedPayment(found, at)


def _ids(items: _Items) -> tuple[str, ...]:
    prices = [item.price for item in items.data if item.price is not None]
    found = {price.id for price in prices} | {price.product or "" for price in prices}
    return tuple(sorted(each for each in found if _ID.match(each)))


def _latest(*moments: int | None) -> int | None:
    return max((each for each in moments if each is not None), default=None)


def _user(text: str | None) -> str | None:
    return text if text is not None and _USER.match(text) else None


def _check(*ids: str) -> None:
    if not all(_ID.match(each) for each in ids):
        raise InvalidInput("The event has a malformed id.")


def _decoded(raw: bytes | msgspec.Raw, form: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Not chained: the cause may quote the body.
        raise InvalidInput("The event does not have the documented form.") from None
