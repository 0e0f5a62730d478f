"""Starts sign-ins and reads their answers, which come back through the browser.

PKCE (https://www.rfc-editor.org/rfc/rfc7636): the answer carries a hand-off token that is useless
without the verifier, which leaves this machine only in the exchange. Any web page can deliver a
forged answer, so only the state of a pending sign-in is accepted. Pending sign-ins are stored in
outbox.db and survive a restart of the daemon.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec
from yarl import URL

from clipperd.clock import Clock
from clipperd.errors import ClipperdError, InvalidInput, NotFound
from clipperd.session.errors import LoginDenied, LoginExpired, LoginStateUnknown
from clipperd.storage.database import Database

ReturnTo = Literal["app", "loopback"]
Purpose = Literal["sign_in", "add_workspace", "change_access"]
LoginState = Literal["pending", "done", "failed", "expired", "canceled"]

LIFETIME_S = 600.0  # the same as at the broker
CALLBACK = "/v1/session/callback"
_KEPT_S = 86400.0  # seconds after its end for which the outcome of a sign-in can be read


class StartedLogin(msgspec.Struct, frozen=True):
    """The answer to a client that starts a sign-in; ``login_url``: the page for the user."""

    login_id: str
    login_url: str
    expires_in: float


class LoginError(msgspec.Struct, frozen=True):
    """The reason why a sign-in failed or cannot continue now."""

    code: str
    title: str
    detail: str
    hint: str | None = None


class LoginStatus(msgspec.Struct, frozen=True):
    """How far a sign-in is. A pending one with an ``error`` can still be completed."""

    login_id: str
    state: LoginState
    error: LoginError | None = None


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A sign-in that this daemon waits for, or has just completed."""

    login_id: str
    purpose: Purpose
    completed: bool
    verifier: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """The browser's answer: a hand-off token or an error code."""

    state: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    error: str | None = None


class Logins:
    """Starts and finds sign-ins; holds all SQL about ``pending_login``."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        broker: URL,
        port: Callable[[], int],
        device: str,
        random: Callable[[int], bytes],
    ) -> None:
        """``port`` returns the local API's port; ``device``: this machine's name for the user."""
        self._db = db
        self._clock = clock
        self._broker = broker
        self._port = port
        self.device = device
        self._random = random

    async def start(
        self, return_to: ReturnTo, purpose: Purpose, device: str | None
    ) -> StartedLogin:
        """Create and store a sign-in, which ends the older ones; return the address to open."""
        login_id = _text(self._random(16))
        state, verifier = _text(self._random(32)), _text(self._random(32))
        query = {
            "source": "cli" if return_to == "loopback" else "app",
            "state": state,
            "code_challenge": _text(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
            "device": _label(device or self.device),
        }
        if return_to == "loopback":
            query["redirect_uri"] = f"http://127.0.0.1:{self._port()}{CALLBACK}"
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM pending_login WHERE expires_at <= ?", (now - _KEPT_S,))
            _end(connection, "1", (), "canceled")
            connection.execute(
                "INSERT INTO pending_login"
                " (login_id, state_hash, verifier, return_to, purpose, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (login_id, _digest(state), verifier, return_to, purpose, now + LIFETIME_S),
            )

        await self._db.write(work)
        url = URL(f"{self._broker}/api/auth/notion").with_query(query)
        return StartedLogin(login_id, str(url), LIFETIME_S)

    async def find(self, state: str) -> PendingLogin:
        """Return the sign-in of ``state``. Raises LoginStateUnknown, LoginExpired."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = connection.execute(
                "SELECT login_id, verifier, purpose, expires_at, completed, outcome"
                " FROM pending_login WHERE state_hash = ?",
                (_digest(state),),
            ).fetchone()
            return row

        row = await self._db.read(work)
        if row is None or row["outcome"] is not None:
            raise LoginStateUnknown(
                "This answer belongs to no sign-in that was started here.",
                hint="Sign in again.",
            )
        if row["expires_at"] <= now:
            raise _expired()
        return PendingLogin(
            row["login_id"], row["purpose"], bool(row["completed"]), row["verifier"] or ""
        )

    async def status(self, login_id: str | None = None) -> LoginStatus | None:
        """Return how far a sign-in is, by default the newest; None if it is unknown."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = connection.execute(
                "SELECT login_id, expires_at, completed, outcome, error FROM pending_login"
                " WHERE :id IS NULL OR login_id = :id ORDER BY rowid DESC LIMIT 1",
                {"id": login_id},
            ).fetchone()
            return row

        row = await self._db.read(work)
        if row is None:
            return None
        error = None
        if row["error"] is not None:
            with contextlib.suppress(msgspec.MsgspecError):  # damaged: the state still says enough
                error = msgspec.json.decode(row["error"], type=LoginError)
        state: LoginState = row["outcome"] or ("done" if row["completed"] else "pending")
        if state == "pending" and row["expires_at"] <= now:
            state, error = "expired", login_error(_expired())
        return LoginStatus(row["login_id"], state, error)

    async def report(self, login_id: str, error: ClipperdError, *, final: bool) -> None:
        """Store the reason why a sign-in failed; not ``final``: the same answer may still work."""
        shown = msgspec.json.encode(login_error(error)).decode()

        def work(connection: sqlite3.Connection) -> None:
            if final:
                _end(connection, "login_id = ?", (login_id,), "failed", shown)
            else:
                connection.execute(
                    "UPDATE pending_login SET error = ? WHERE login_id = ?", (shown, login_id)
                )

        await self._db.write(work)

    async def cancel(self, login_id: str | None = None) -> None:
        """Cancel a pending sign-in, or all of them. Raises NotFound for one that is not pending."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> int:
            if login_id is None:
                return _end(connection, "1", (), "canceled")
            return _end(connection, "login_id = ? AND expires_at > ?", (login_id, now), "canceled")

        if not await self._db.write(work) and login_id is not None:
            raise NotFound("There is no such sign-in; it may be over.")


def login_error(error: ClipperdError) -> LoginError:
    """Render the error for the status of its sign-in."""
    if isinstance(error, LoginDenied):
        return LoginError(error.reason, error.reason_title, error.detail, error.hint)
    return LoginError(error.code, error.title, error.detail, error.hint)


def _end(
    connection: sqlite3.Connection,
    where: str,
    values: tuple[object, ...],
    outcome: Literal["failed", "canceled"],
    error: str | None = None,
) -> int:
    """End the sign-ins under way that match; return their number."""
    return connection.execute(
        "UPDATE pending_login SET outcome = ?, error = ?, verifier = NULL"  # noqa: S608 (constants)
        f" WHERE completed = 0 AND outcome IS NULL AND {where}",
        (outcome, error, *values),
    ).rowcount


def read_answer(url: str) -> LoginAnswer:
    """Parse a deep link or the loopback callback's URL. Raises InvalidInput for any other URL."""
    try:
        parts = urlsplit(url)
        place = (parts.scheme.lower(), (parts.hostname or "").lower(), parts.path.rstrip("/"))
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise InvalidInput("That is not the address of a sign-in.") from error
    deep_link = place[:2] == ("notion-clipper", "auth") and place[2] in ("", "/callback")
    loopback = (
        place[0] == "http" and place[1] in ("127.0.0.1", "localhost") and place[2] == CALLBACK
    )
    values = dict(pairs)
    # With a name given twice, two parsers could read two different answers.
    if not (deep_link or loopback) or len(values) != len(pairs) or not values.get("state"):
        raise InvalidInput("That is not the address of a sign-in.")
    token, error_word = values.get("token"), values.get("error")
    if error_word is not None:
        return LoginAnswer(values["state"], error=_word(error_word))
    if not token:
        raise InvalidInput("The address of this sign-in is incomplete.")
    return LoginAnswer(values["state"], token=token)


def _expired() -> LoginExpired:
    return LoginExpired("The sign-in took too long.", hint="Start it again.")


def _label(text: str) -> str:
    """Return a device name as the broker accepts it: up to 100 printable characters."""
    return "".join(c for c in text if c.isprintable()).strip()[:100] or "clipperd"


def _word(text: str) -> str:
    """Return the error code if it is safe to repeat: any web page can write there."""
    return text if re.fullmatch(r"[a-z0-9_]{1,40}", text, re.ASCII) else "unknown"


def _digest(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
