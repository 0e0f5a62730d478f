"""Signs users in: from the daemon's login address through Notion back to the daemon.

The broker sends its own state through Notion: 256 bits, stored as a hash, for a single use within
ten minutes, bound by a cookie to the browser. The daemon's state and PKCE challenge are stored
with it. The daemon gets a hand-off in return, which is useless without the verifier.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import NoReturn
from urllib.parse import urlencode

from cloud_broker.audit import Audit
from cloud_broker.clock import Clock
from cloud_broker.errors import (
    BrokerError,
    InvalidInput,
    NotionUnavailable,
    SignInDenied,
    SignInExpired,
    SignInForeign,
    SignInRefused,
    WorkspaceTaken,
)
from cloud_broker.identity.accounts import Accounts
from cloud_broker.identity.oauth import Grant, GrantEnded, NotionOAuth, NotionUser
from cloud_broker.identity.revocations import Revocations
from cloud_broker.identity.sessions import Sessions
from cloud_broker.randomness import Randomness
from cloud_broker.secret import Secret
from cloud_broker.storage import signins as rows
from cloud_broker.storage.database import Database, Row, to_ms

log = logging.getLogger(__name__)

STATE_S = 600  # seconds to complete a sign-in
DEVICE_MAX = 100  # characters
_PARAMETERS = frozenset(
    {
        "source",
        "state",
        "code_challenge",
        "code_challenge_method",
        "device",
        "redirect_uri",
        "return_to",
        "purpose",
    }
)
_CLIENT_STATE = re.compile(r"\A[A-Za-z0-9._~-]{8,256}\Z")
_CHALLENGE = re.compile(r"\A[A-Za-z0-9_-]{43}\Z")  # base64url of SHA-256, RFC 7636 section 4.2
_LOOPBACK = re.compile(
    r"\Ahttp://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})/v1/session/callback\Z"
)  # RFC 8252 section 7.3: the literal addresses, any port
_OPAQUE = re.compile(r"\A[A-Za-z0-9_-]{43}\Z")


@dataclass(frozen=True, slots=True)
class Request:
    """A daemon's request to sign in, checked."""

    client_state: str
    code_challenge: str
    device: str
    return_to: str


@dataclass(frozen=True, slots=True)
class BegunSignIn:
    """Notion's address for the browser, and the cookie that it must bring back."""

    url: str
    cookie_name: str
    cookie_value: Secret


@dataclass(frozen=True, slots=True)
class CompletedSignIn:
    """The browser's last address. ``url`` may hold a hand-off: never log it.

    ``account``: the user's name and address from Notion, empty after a failure, whose reason is
    ``failure``.
    """

    url: str
    is_loopback: bool
    device: str
    account: str = ""
    failure: BrokerError | None = None


class SignIn:
    """Handles a sign-in from the login address to the hand-off."""

    def __init__(
        self,
        database: Database,
        oauth: NotionOAuth,
        accounts: Accounts,
        sessions: Sessions,
        revocations: Revocations,
        *,
        audit: Audit,
        clock: Clock,
        randomness: Randomness,
        cookie_prefix: str,
    ) -> None:
        """``cookie_prefix`` is ``__Host-`` where cookies can be secure, else empty."""
        self._database = database
        self._oauth = oauth
        self._accounts = accounts
        self._sessions = sessions
        self._revocations = revocations
        self._audit = audit
        self._clock = clock
        self._random = randomness
        self._cookie_prefix = cookie_prefix

    async def begin(self, request: Request) -> BegunSignIn:
        """Store the sign-in and return the address at which Notion asks the user."""
        state, browser = self._random.new_secret(), self._random.new_secret()
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await rows.sweep_states(tx, now=to_ms(now))
            await rows.add_state(
                tx,
                state_hash=_digest(state),
                browser_hash=_digest(browser),
                client_state=request.client_state,
                code_challenge=request.code_challenge,
                device=request.device,
                return_to=request.return_to,
                expires_at=to_ms(now + STATE_S),
            )
        return BegunSignIn(
            self._oauth.authorize_url(state), self.cookie_name(state), Secret(browser)
        )

    def failed(self, request: Request, failure: BrokerError) -> CompletedSignIn:
        """Return the daemon's address with the reason why its sign-in could not begin."""
        return _completed(
            {
                "return_to": request.return_to,
                "client_state": request.client_state,
                "device": request.device,
            },
            {"error": _word(failure)},
            failure=failure,
        )

    async def sweep(self) -> None:
        """Delete expired sign-ins."""
        async with self._database.transaction() as tx:
            await rows.sweep_states(tx, now=to_ms(self._clock.now()))

    def cookie_name(self, state: str) -> str:
        """Return the cookie name of one sign-in: a browser may have several under way."""
        return f"{self._cookie_prefix}clipper-signin-{_digest(state)[:12]}"

    async def complete(
        self, *, state: str, browser: str | None, code: str | None, error: str | None
    ) -> CompletedSignIn:
        """Complete the sign-in with Notion's answer.

        Raises SignInExpired for an unknown state. Every later failure has an address to return
        to: the daemon gets its code as ``error``.
        """
        waiting = await self._take(state)
        try:
            return await self._grant(waiting, browser, code=code, error=error)
        except BrokerError as failure:
            log.warning("A sign-in failed (%s): %s", failure.code, failure.detail)
            return _completed(waiting, {"error": _word(failure)}, failure=failure)

    async def _grant(
        self, waiting: Row, browser: str | None, *, code: str | None, error: str | None
    ) -> CompletedSignIn:
        if waiting["expires_at"] <= to_ms(self._clock.now()):
            raise _expired()
        if not _is_same(browser, waiting["browser_hash"]):
            raise SignInForeign(
                "Notion's answer reached another browser than the one that started the sign-in.",
                hint="Start the sign-in again in one browser, and allow cookies.",
            )
        if error == "access_denied":
            raise SignInDenied(
                "The connection was not approved at Notion.",
                hint="Start the sign-in again and approve it.",
            )
        if error is not None or not code:
            raise _refused_by_notion()
        try:
            grant = await self._oauth.exchange(code)
        except GrantEnded:
            raise _refused_by_notion() from None
        handoff = await self._admit(grant, waiting)
        return _completed(waiting, {"token": handoff.reveal()}, account=_named(grant.owner))

    async def _take(self, state: str) -> Row:
        if not _OPAQUE.match(state):
            raise _expired()
        async with self._database.transaction() as tx:
            waiting = await rows.take_state(tx, _digest(state))
        if waiting is None:
            raise _expired()
        return waiting

    async def _admit(self, grant: Grant, waiting: Row) -> Secret:
        if grant.owner is None:
            await self._refuse(
                grant,
                SignInRefused(
                    "Notion did not send your user.", hint="Connect as a user, not a bot."
                ),
            )
        try:
            async with self._database.transaction() as tx:
                user_id = await self._accounts.connect(tx, grant, grant.owner)
                handoff = await self._sessions.hand_off(
                    tx,
                    user_id=user_id,
                    code_challenge=waiting["code_challenge"],
                    device=waiting["device"],
                )
        except WorkspaceTaken as taken:
            await self._refuse(grant, taken)
        self._accounts.forget(user_id)  # the profile and the connections have changed
        return handoff

    async def _refuse(self, grant: Grant, why: SignInRefused) -> NoReturn:
        """Queue the new tokens for revocation, then refuse."""
        async with self._database.transaction() as tx:
            tokens = grant.tokens
            await self._revocations.add(tx, tokens.access_token, tokens.refresh_token)
            facts = {"why": why.code}
            await self._audit.write(tx, "sign_in_refused", "", facts=facts, subject={})
        self._revocations.wake()
        raise why


def read_request(query: Sequence[tuple[str, str]], app_return_uris: Sequence[str]) -> Request:
    """Check a login address. Raises InvalidInput naming every wrong parameter."""
    values: dict[str, str] = {}
    faults: list[dict[str, str]] = []
    for name, value in query:
        if name in values or name not in _PARAMETERS:
            faults.append({"pointer": f"/{name[:40]}", "code": "unexpected"})
        values[name] = value
    checks: Mapping[str, bool] = {
        "source": values.get("source") in {"app", "cli"},
        "state": bool(_CLIENT_STATE.match(values.get("state", ""))),
        "code_challenge": bool(_CHALLENGE.match(values.get("code_challenge", ""))),
        "code_challenge_method": values.get("code_challenge_method") == "S256",
        "device": _is_device(values.get("device", "")),
        "purpose": values.get("purpose", "sign_in")
        in {"sign_in", "add_workspace", "change_access"},
        "redirect_uri": "redirect_uri" not in values or _is_loopback(values["redirect_uri"]),
        "return_to": "return_to" not in values or values["return_to"] in app_return_uris,
    }
    faults += [{"pointer": f"/{name}", "code": "invalid"} for name, ok in checks.items() if not ok]
    if "redirect_uri" in values and "return_to" in values:
        faults.append({"pointer": "/return_to", "code": "unexpected"})
    if values.get("source") == "cli" and "redirect_uri" not in values:
        faults.append({"pointer": "/redirect_uri", "code": "missing"})
    if faults:
        raise InvalidInput("This login address is not valid.", errors=faults)
    return Request(
        client_state=values["state"],
        code_challenge=values["code_challenge"],
        device=values["device"],
        return_to=values.get("redirect_uri") or values.get("return_to") or app_return_uris[0],
    )


def _is_loopback(uri: str) -> bool:
    match = _LOOPBACK.match(uri)
    return match is not None and int(match[1]) <= 65535


def _is_device(name: str) -> bool:
    return 0 < len(name) <= DEVICE_MAX and name.isprintable()


def _is_same(browser: str | None, kept_hash: str) -> bool:
    if browser is None or not _OPAQUE.match(browser):
        return False
    return compare_digest(_digest(browser), kept_hash)


def _expired() -> SignInExpired:
    return SignInExpired(
        "This sign-in is already completed, or it is older than ten minutes.",
        hint="Start the sign-in again.",
    )


def _refused_by_notion() -> SignInRefused:
    return SignInRefused("Notion refused the sign-in.", hint="Start the sign-in again.")


def _word(failure: BrokerError) -> str:
    """Return the ``error`` that the daemon gets; its public names (docs/session.md)."""
    if isinstance(failure, NotionUnavailable):
        return "temporarily_unavailable"
    if isinstance(failure, SignInRefused):
        return "server_error" if type(failure) is SignInRefused else failure.code
    return "service_unavailable"


def _completed(
    waiting: Row,
    answer: Mapping[str, str],
    *,
    account: str = "",
    failure: BrokerError | None = None,
) -> CompletedSignIn:
    target = str(waiting["return_to"])
    query = urlencode({**answer, "state": waiting["client_state"]})
    return CompletedSignIn(
        f"{target}?{query}",
        is_loopback=target.startswith("http://"),
        device=str(waiting["device"]),
        account=account,
        failure=failure,
    )


def _named(person: NotionUser | None) -> str:
    name, email = (person.name, person.email) if person is not None else (None, None)
    return f"{name} ({email})" if name and email else name or email or "your account"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
