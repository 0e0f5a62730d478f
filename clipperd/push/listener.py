"""Keeps the event stream open while an account is signed in; it never polls."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import Literal, TypedDict

import msgspec

from clipperd.broker.client import BrokerClient, is_problem
from clipperd.broker.http import Incoming
from clipperd.broker.sse import FrameParser
from clipperd.clock import Clock, rfc3339
from clipperd.concurrency import race
from clipperd.errors import BrokerUnreachable, ClipperdError, NotSignedIn, ReauthRequired
from clipperd.model import Scope
from clipperd.outline.freshness import SILENT_S, FreshnessTracker
from clipperd.push import event_cursor
from clipperd.push.event_handler import EventHandler
from clipperd.session.session import Session
from clipperd.storage.database import Store

_PATH = "api/events"
_BACKOFF_BASE_S, _BACKOFF_CAP_S = 1.0, 60.0
_ABSENT_S = 3600.0  # a broker without push may be upgraded
_RECONNECT_S = 1.0  # the longest pause after a stream ended regularly with its token

State = Literal["up", "connecting", "off"]


class PushView(TypedDict):
    """Whether the broker's event stream is open, since when, and why not."""

    state: State
    since: str
    why: str | None


class StreamStatus(msgspec.Struct, frozen=True):
    """The state of the stream, since when (epoch seconds), and why."""

    state: State
    since: float
    why: str | None


class _Absent(Exception):
    """The broker has no stream."""


class Listener:
    """Keeps the stream of the signed-in account; its owner cancels :meth:`run`."""

    def __init__(
        self,
        client: BrokerClient,
        session: Session,
        handler: EventHandler,
        freshness: FreshnessTracker,
        cache: Store,
        clock: Clock,
        *,
        active_user: Callable[[], str | None],
        rng: Callable[[], float],
    ) -> None:
        """``active_user`` returns the signed-in user; ``rng`` (0 to 1) spreads reconnects."""
        self._client = client
        self._session = session
        self._handler = handler
        self._freshness = freshness
        self._cache = cache
        self._clock = clock
        self._active_user = active_user
        self._rng = rng
        self._changed = asyncio.Event()
        self._retry_now = asyncio.Event()
        self._failures = 0
        self._status = StreamStatus("off", clock.now(), "signed_out")

    @property
    def is_live(self) -> bool:
        """Return whether the stream reports changes of pages now."""
        return self._freshness.is_up

    def is_index_current(self, scope: Scope) -> bool:
        """Return whether the page index needs no refresh: the stream reported no edit."""
        was_edited = self._handler.pop_edited(scope)
        return self.is_live and not was_edited

    def view(self) -> PushView:
        """Return the status as ``/v1/status`` shows it."""
        status = self._status
        return {"state": status.state, "since": rfc3339(status.since), "why": status.why}

    def account_changed(self) -> None:
        """Switch to the stream of the new account, if one is signed in."""
        self._changed.set()

    def retry_now(self) -> None:
        """Reconnect without waiting for the backoff: the network is back."""
        self._retry_now.set()

    async def run(self) -> None:
        """Read the stream of the signed-in account, until canceled."""
        while True:
            self._changed.clear()
            self._freshness.reset()
            self._failures = 0
            user = self._active_user()
            if user is None:
                self._set_status("off", "signed_out")
                await self._changed.wait()
                continue
            await race(self._follow(user), self._until_account_changes(user))
            self._freshness.on_disconnect()

    async def _until_account_changes(self, user: str) -> None:
        while self._active_user() == user:
            await self._changed.wait()
            self._changed.clear()

    async def _follow(self, user: str) -> None:
        while True:
            self._retry_now.clear()
            try:
                await self._read_once(user)
                wait_s = _RECONNECT_S * self._rng()
            except (NotSignedIn, ReauthRequired) as error:
                self._set_status("off", error.code)
                wait_s = _ABSENT_S  # a new sign-in calls account_changed
            except _Absent:
                self._set_status("off", "not_offered")
                wait_s = _ABSENT_S
            except (ClipperdError, ValueError, sqlite3.Error) as error:
                wait_s = self._backoff_s(error)
            finally:
                self._freshness.on_disconnect()
            await race(self._clock.sleep(wait_s), self._retry_now.wait())

    def _backoff_s(self, error: Exception) -> float:
        """Return the exponential backoff with jitter, at least the error's ``retry_after``."""
        retry_after_s = getattr(error, "retry_after", None) or 0.0
        backoff_s = min(_BACKOFF_CAP_S, _BACKOFF_BASE_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._set_status("connecting", getattr(error, "code", "stream_broken"))
        return max(retry_after_s, backoff_s * (0.5 + self._rng() / 2))

    async def _read_once(self, user: str) -> None:
        """Read one stream until the broker ends it. Raises the error that ended it earlier."""
        if self._status.state != "up":
            self._set_status("connecting", None)
        token = await self._session.token_for(user)
        for is_last in (False, True):
            last_id = await self._cache.read(lambda c: event_cursor.load(c, user))
            headers = {"Authorization": f"Bearer {token}"}
            if last_id is not None:
                headers["Last-Event-ID"] = last_id
            async with self._client.stream(_PATH, headers=headers, idle_s=SILENT_S) as incoming:
                if incoming.status == 200:
                    await self._read(user, token, incoming)
                    return
                is_own = is_problem(incoming.headers)
                if incoming.status in (404, 405) and is_own:
                    raise _Absent
                if incoming.status != 401 or not is_own or is_last:
                    raise _refused(self._client.retry_after(incoming.headers))
            token = await self._session.token_for(user, stale=token)

    async def _read(self, user: str, token: str, incoming: Incoming) -> None:
        parser = FrameParser()
        async for chunk in incoming.chunks():
            self._freshness.on_activity()
            last_id: str | None = None
            for frame in parser.feed(chunk):
                reports_pages = await self._handler.handle(user, token, frame)
                last_id = frame.id or last_id
                if reports_pages is not None:
                    self._on_ready(reports_pages=reports_pages)
            if last_id is not None:
                await self._save_cursor(user, last_id)

    def _on_ready(self, *, reports_pages: bool) -> None:
        self._failures = 0
        if reports_pages:
            self._freshness.on_ready()
            self._set_status("up", None)
        else:
            self._freshness.reset()
            self._set_status("off", "no_webhooks")

    async def _save_cursor(self, user: str, last_id: str) -> None:
        with contextlib.suppress(ClipperdError):  # a full disk: the next start reads them again
            await self._cache.write(lambda c: event_cursor.save(c, user, last_id))

    def _set_status(self, state: State, why: str | None) -> None:
        if (state, why) != (self._status.state, self._status.why):
            self._status = StreamStatus(state, self._clock.now(), why)


def _refused(retry_after: float | None) -> BrokerUnreachable:
    error = BrokerUnreachable("The service does not offer its event stream now.", sent=True)
    error.retry_after = retry_after
    return error
