"""One long-lived stream while somebody is signed in; nothing polls."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import Literal

import msgspec

from clipperd.broker.client import BrokerClient
from clipperd.broker.http import Incoming
from clipperd.broker.sse import FrameParser
from clipperd.clock import Clock, rfc3339
from clipperd.concurrency import race
from clipperd.errors import BrokerUnreachable, ClipperdError, NotSignedIn, ReauthRequired
from clipperd.model import Scope
from clipperd.outline.freshness import SILENT_S, FreshnessTracker
from clipperd.push import event_cursor
from clipperd.push.consequences import Consequences
from clipperd.session.session import Session
from clipperd.storage.database import Store

_PATH = "api/events"
_FIRST_S, _LONGEST_S = 1.0, 60.0
_ABSENT_S = 3600.0  # a broker without push may be replaced by one with it
_AGAIN_S = 1.0  # the stream ended with its token: everybody's ends at a time of its own

State = Literal["up", "connecting", "off"]


class Standing(msgspec.Struct, frozen=True):
    """How the stream stands, since when (epoch seconds), and why."""

    state: State
    since: float
    why: str | None


class _Absent(Exception):
    """The broker has no stream."""


class Listener:
    """Keeps the stream of the account that is signed in; :meth:`run` is its owner's to cancel."""

    def __init__(
        self,
        wire: BrokerClient,
        session: Session,
        consequences: Consequences,
        freshness: FreshnessTracker,
        cache: Store,
        clock: Clock,
        *,
        active_user: Callable[[], str | None],
        rng: Callable[[], float],
    ) -> None:
        """``active_user``: whose stream; ``rng`` (0 to 1) spreads reconnects."""
        self._wire = wire
        self._session = session
        self._consequences = consequences
        self._freshness = freshness
        self._cache = cache
        self._clock = clock
        self._active_user = active_user
        self._rng = rng
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failures = 0
        self._standing = Standing("off", clock.now(), "signed_out")

    @property
    def is_telling(self) -> bool:
        """Whether changes of pages are told now."""
        return self._freshness.is_up

    def vouches_for_index(self, scope: Scope) -> bool:
        """Whether a refresh of the page list would find nothing new."""
        was_edited = self._consequences.take_edited(scope)
        return self.is_telling and not was_edited

    def view(self) -> dict[str, str | None]:
        """The stream as ``/v1/status`` shows it."""
        now = self._standing
        return {"state": now.state, "since": rfc3339(now.since), "why": now.why}

    def account_changed(self) -> None:
        """Somebody else is signed in, or nobody."""
        self._changed.set()

    def hurry(self) -> None:
        """The network is back: do not wait out a pause."""
        self._hurry.set()

    async def run(self) -> None:
        """Follow whoever is signed in, for ever."""
        while True:
            self._changed.clear()
            self._freshness.reset()
            self._failures = 0
            user = self._active_user()
            if user is None:
                self._stand("off", "signed_out")
                await self._changed.wait()
                continue
            await race(self._follow(user), self._account_left(user))
            self._freshness.on_disconnect()

    async def _account_left(self, user: str) -> None:
        while self._active_user() == user:
            await self._changed.wait()
            self._changed.clear()

    async def _follow(self, user: str) -> None:
        while True:
            self._hurry.clear()
            try:
                await self._once(user)
                wait_s = _AGAIN_S * self._rng()
            except (NotSignedIn, ReauthRequired) as error:
                self._stand("off", error.code)
                wait_s = _ABSENT_S  # signing in again changes the account in force
            except _Absent:
                self._stand("off", "not_offered")
                wait_s = _ABSENT_S
            except (ClipperdError, ValueError, sqlite3.Error) as error:
                wait_s = self._pause(error)
            finally:
                self._freshness.on_disconnect()
            await race(self._clock.sleep(wait_s), self._hurry.wait())

    def _pause(self, error: Exception) -> float:
        """How long to wait: twice as long each time, and never all daemons at once."""
        asked = getattr(error, "retry_after", None) or 0.0
        pause_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._stand("connecting", getattr(error, "code", "stream_broken"))
        return max(asked, pause_s * (0.5 + self._rng() / 2))

    async def _once(self, user: str) -> None:
        """Read one stream to its end. Raises what ended it, if that was not the broker's will."""
        if self._standing.state != "up":
            self._stand("connecting", None)
        token = await self._session.token_for(user)
        for is_last in (False, True):
            last_id = await self._cache.read(lambda c: event_cursor.load(c, user))
            headers = {"Authorization": f"Bearer {token}"}
            if last_id is not None:
                headers["Last-Event-ID"] = last_id
            async with self._wire.stream(_PATH, headers=headers, idle_s=SILENT_S) as incoming:
                if incoming.status == 200:
                    await self._read(user, token, incoming)
                    return
                if incoming.status in (404, 405):
                    raise _Absent
                if incoming.status != 401 or is_last:
                    raise _refused(self._wire.retry_after(incoming.headers))
            token = await self._session.token_for(user, stale=token)

    async def _read(self, user: str, token: str, incoming: Incoming) -> None:
        frames = FrameParser()
        async for chunk in incoming.chunks():
            self._freshness.on_activity()
            last_id: str | None = None
            for frame in frames.feed(chunk):
                tells = await self._consequences.take(user, token, frame)
                last_id = frame.id or last_id
                if tells is not None:
                    self._begin(tells=tells)
            if last_id is not None:
                await self._keep(user, last_id)

    def _begin(self, *, tells: bool) -> None:
        self._failures = 0
        if tells:
            self._freshness.on_ready()
            self._stand("up", None)
        else:
            self._freshness.reset()
            self._stand("off", "no_webhooks")

    async def _keep(self, user: str, last_id: str) -> None:
        with contextlib.suppress(ClipperdError):  # a full disk: told again after the next start
            await self._cache.write(lambda c: event_cursor.save(c, user, last_id))

    def _stand(self, state: State, why: str | None) -> None:
        if (state, why) != (self._standing.state, self._standing.why):
            self._standing = Standing(state, self._clock.now(), why)


def _refused(retry_after: float | None) -> BrokerUnreachable:
    error = BrokerUnreachable("The service does not open its event stream now.", sent=True)
    error.retry_after = retry_after
    return error
