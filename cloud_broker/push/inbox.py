"""Takes webhooks: verifies and stores each, then moves them to the push log once a second."""

from __future__ import annotations

import asyncio
from typing import Literal

from cloud_broker.clock import Clock, within
from cloud_broker.crypto.sealing import KeyRing, Place, Sealed
from cloud_broker.errors import NotFound, WebhookStale, WebhookUnsigned
from cloud_broker.push import webhook
from cloud_broker.push.notifier import Notifier
from cloud_broker.secret import Secret
from cloud_broker.storage import keycheck
from cloud_broker.storage import push as rows
from cloud_broker.storage.database import Database, Row, to_ms

Outcome = Literal["taken", "duplicate", "ignored", "handshake"]

NAME = "webhook_token"
COLUMN = "value_sealed"
PLACE = Place("broker_state", NAME)
STALE_S = 600.0  # older is a replay; daemons do not trust an outline for that long
EARLY_S = 300.0  # tolerated lead of Notion's clock
COALESCE_S = 1.0  # events of one page within it become one row
LEFT_S = 3.0  # an event that waits longer was taken by a broker that died
BATCH = 2_000  # events per transaction
LOG_KEPT_S = 3 * 86_400.0
IDS_KEPT_S = 2 * STALE_S  # an older event is refused as stale, so its id is not needed


class Inbox:
    """Moves Notion's events from the request to the push log."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        notifier: Notifier,
        clock: Clock,
        *,
        token: Secret | None,
        is_pending: bool,
        poll_s: float = 0.0,
    ) -> None:
        """``token``: from the setting, else from a handshake, which is taken while ``is_pending``.

        ``poll_s``: seconds between checks for events of a broker that died; 0: never.
        """
        self._database = database
        self._ring = ring
        self._notifier = notifier
        self._clock = clock
        self._token = token
        self._is_pending = is_pending
        self._poll_s = poll_s
        self._more = asyncio.Event()
        self._more.set()  # a former process may have left events

    async def token(self) -> Secret | None:
        """Return the verification token that signs webhooks, None before a handshake."""
        if self._token is not None:
            return self._token
        async with self._database.reading() as tx:
            row = await keycheck.value(tx, NAME)
        if row is None:
            return None
        sealed = Sealed(row["kid"], row["wrapped_key"], {COLUMN: row[COLUMN]})
        return self._ring.open(PLACE, sealed, COLUMN)

    async def expects_webhooks(self) -> bool:
        """Whether a verification token is known, so that webhooks can arrive."""
        return await self.token() is not None

    async def take(self, body: bytes, signature: str | None) -> Outcome:
        """Take one request's raw body; the event is durable when this returns.

        Raises WebhookUnsigned, WebhookStale, InvalidInput, or NotFound without a token.
        """
        if signature is None:
            return await self._handshake(body)
        token = await self.token()
        if token is None:
            raise NotFound("This broker expects no webhooks.")
        if not webhook.is_signed(token, body, signature):
            raise WebhookUnsigned("The signature does not match this broker's verification token.")
        event = webhook.read(body)
        now = self._clock.now()
        if not now - STALE_S <= event.at <= now + EARLY_S:
            raise WebhookStale("The event is older than ten minutes, or its time is in the future.")
        if event.what is None:
            return "ignored"
        return await self._keep(event, now)

    async def _keep(self, event: webhook.WebhookEvent, now: float) -> Outcome:
        async with self._database.reading() as tx:
            known = await rows.is_connected(tx, event.workspace_id)
        if not known:
            return "ignored"
        row = {
            "id": event.id,
            "now": to_ms(now),
            "workspace_id": event.workspace_id,
            "page_id": event.page_id,
            "what": event.what,
            "bots": _joined(event.bots),
            "accessible_by": _joined(event.accessible_by),
        }
        async with self._database.transaction() as tx:
            is_new = await rows.take(tx, row)
        if not is_new:
            return "duplicate"
        self._more.set()
        return "taken"

    async def _handshake(self, body: bytes) -> Outcome:
        token = webhook.handshake_of(body) if self._is_pending and self._token is None else None
        if token is None:
            raise WebhookUnsigned("The request is not signed, and no handshake is expected.")
        sealed = self._ring.seal(PLACE, {COLUMN: token})
        async with self._database.transaction() as tx:
            await keycheck.replace(
                tx,
                name=NAME,
                kid=sealed.kid,
                wrapped_key=sealed.wrapped_key,
                value=sealed.columns[COLUMN],
                now=to_ms(self._clock.now()),
            )
        return "handshake"

    async def run_once(self) -> float:
        """Wait for events, gather them for a second, move them to the log."""
        if not await self._wait_for_events():
            return 0.0
        await self._clock.sleep(COALESCE_S)
        self._more.clear()
        try:
            while await self.publish() == BATCH:
                pass
        except BaseException:
            self._more.set()  # the events still wait
            raise
        return 0.0

    async def _wait_for_events(self) -> bool:
        """Wait for own events; return whether there are some, or some of a broker that died."""
        if self._poll_s <= 0:
            return await self._more.wait()
        if await within(self._clock, self._poll_s, self._more.wait()):
            return True
        async with self._database.reading() as tx:
            return await rows.is_left_behind(tx, before=to_ms(self._clock.now() - LEFT_S))

    async def publish(self) -> int:
        """Move a batch to the log, one row for each page and kind; return the number of events."""
        async with self._database.transaction() as tx:
            await tx.lock(rows.LOG_LOCK)
            waiting = await rows.pending(tx, BATCH)
            merged = coalesced(waiting)
            if merged:
                last = await rows.advance(tx, len(merged))
                at = to_ms(self._clock.now())
                first = last - len(merged) + 1
                numbered = [{**row, "at": at, "seq": first + n} for n, row in enumerate(merged)]
                await rows.append(tx, numbered)
        if merged:
            self._notifier.notify()
        return len(waiting)

    async def sweep(self) -> None:
        """Delete old events and log rows."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await tx.lock(rows.LOG_LOCK)
            await rows.sweep(
                tx, log_before=to_ms(now - LOG_KEPT_S), events_before=to_ms(now - IDS_KEPT_S)
            )


def coalesced(waiting: list[Row]) -> list[Row]:
    """Merge the rows of each page and kind of change, ordered by their last event.

    A merged row has the authors of all. Rows with different ``accessible_by`` stay separate.
    """
    found: dict[tuple[str | None, ...], Row] = {}
    for row in waiting:
        seen_by = row["accessible_by"]
        key = (
            row["workspace_id"],
            row["page_id"],
            row["what"],
            "*" if seen_by is None else seen_by,
        )
        before = found.pop(key, None)
        merged = {name: value for name, value in row.items() if name != "id"}
        if before is not None:
            merged["bots"] = _both(before["bots"], row["bots"])
        found[key] = merged
    return list(found.values())


def _both(one: str | None, other: str | None) -> str | None:
    """Return the bots of both events; None when one of them has a human author."""
    if one is None or other is None:
        return None
    return " ".join(sorted({*one.split(), *other.split()}))


def _joined(ids: tuple[str, ...] | None) -> str | None:
    return None if ids is None else " ".join(ids)
