"""Manages daemon sessions: hand-offs, access tokens, rotating refresh tokens, revocation.

A daemon exchanges its hand-off (proved by the PKCE verifier) for an access token of at most ten
minutes and an opaque refresh token. Each refresh issues a successor. The predecessor stays valid
until the first use of the successor, so a lost answer does not end the session. A later use of the
predecessor means that two parties hold the tokens: the session ends.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from dataclasses import dataclass
from hmac import compare_digest

from msgspec import Struct

from cloud_broker.audit import Audit
from cloud_broker.clock import Clock
from cloud_broker.crypto.signing import ACCESS, HANDOFF, Signer, TokenRejected
from cloud_broker.errors import InvalidGrant, NotFound, SessionExpired
from cloud_broker.identity.ttl_cache import TtlCache
from cloud_broker.randomness import Randomness
from cloud_broker.secret import Secret
from cloud_broker.storage import sessions as rows
from cloud_broker.storage.database import Database, Row, Tx, to_ms
from cloud_broker.tariff import Tariff

log = logging.getLogger(__name__)

HANDOFF_S = 60  # seconds
IDLE_S = 60 * 86_400  # seconds: a session without use for sixty days ends
CACHE_SIZE = 10_000  # access tokens
ENDED_KEPT_S = 7 * 86_400  # seconds: ended sessions are kept for detecting reuse
_VERIFIER = re.compile(r"\A[A-Za-z0-9._~-]{43,128}\Z")  # RFC 7636 section 4.1


class Claims(Struct, frozen=True):
    """The claims of a verified access token. ``expires_at`` is in epoch seconds."""

    user_id: str
    session_id: str
    email: str
    tier: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """The tokens for a daemon; the access token expires in ``expires_in`` seconds."""

    user_id: str
    session_id: str
    access_token: Secret
    refresh_token: Secret
    expires_in: int


class Sessions:
    """Issues, refreshes, verifies and revokes sessions."""

    def __init__(
        self,
        database: Database,
        signer: Signer,
        *,
        clock: Clock,
        randomness: Randomness,
        access_token_s: int,
        audit: Audit,
        tariff: Tariff,
    ) -> None:
        """``access_token_s`` is the lifetime of an access token in seconds."""
        self._database = database
        self._signer = signer
        self._clock = clock
        self._random = randomness
        self._access_token_s = access_token_s
        self._audit = audit
        self._tariff = tariff
        self._cache: TtlCache[bytes, Claims] = TtlCache(clock, size=CACHE_SIZE)

    # --- signing in ------------------------------------------------------------------------

    async def hand_off(self, tx: Tx, *, user_id: str, code_challenge: str, device: str) -> Secret:
        """Create the single-use token that the browser carries to the daemon."""
        jti = self._random.new_secret()
        await rows.add_handoff(
            tx,
            handoff_id=_digest(jti),
            user_id=user_id,
            code_challenge=code_challenge,
            device=device,
            expires_at=to_ms(self._clock.now() + HANDOFF_S),
        )
        return Secret(self._signer.sign(HANDOFF, {"sub": user_id, "jti": jti}, life_s=HANDOFF_S))

    async def redeem(self, token: str, verifier: str) -> IssuedTokens:
        """Open a session for a hand-off. Raises InvalidGrant; one try consumes the hand-off."""
        try:
            claims = self._signer.verify(token, HANDOFF)
        except TokenRejected as error:
            raise InvalidGrant("This sign-in is unknown or has expired.") from error
        handoff_id = _digest(str(claims["jti"]))
        async with self._database.transaction() as tx:
            row = await rows.use_handoff(tx, handoff_id, now=self._now())
            if row is None:
                made = await rows.session_of_handoff(tx, handoff_id)
                if made is not None:
                    await self._revoke(tx, made, why="handoff_reused")
                issued = None
            elif not _proves(verifier, row["code_challenge"]):
                issued = None
            else:
                issued = await self._open(tx, row["user_id"], row["device"])
                await rows.bind_handoff(tx, handoff_id, issued.session_id)
        if issued is None:
            raise InvalidGrant("This sign-in was used already or belongs to another program.")
        return issued

    async def refresh(self, token: str) -> IssuedTokens:
        """Exchange a refresh token for a new pair. Raises InvalidGrant."""
        issued = None
        async with self._database.reading() as tx:  # a guessed token must not block writers
            session_id = await rows.session_of_refresh_token(tx, _digest(token))
        if session_id is not None:
            async with self._database.transaction() as tx:
                # A token and its successor, used concurrently, must see each other's use.
                await tx.lock(f"session {session_id}")
                issued = await self._successor(tx, token)
        if issued is None:
            raise InvalidGrant("This session has ended.", hint="Sign in again.")
        return issued

    async def _successor(self, tx: Tx, token: str) -> IssuedTokens | None:
        now = self._now()
        token_hash = _digest(token)
        row = await rows.use_refresh_token(tx, token_hash, now=now)
        if row is None or row["expires_at"] <= now:
            return None
        session_id = str(row["session_id"])
        if row["retired_at"] is not None:
            log.warning("A retired refresh token was used. Session %s ends.", session_id)
            await self._revoke(tx, session_id, why="refresh_token_reused")
            return None
        session = await rows.live_session(tx, session_id, now=now)
        if session is None:
            return None
        if row["is_first_use"]:
            await rows.retire_rivals(
                tx,
                token_hash=token_hash,
                session_id=session_id,
                predecessor_hash=row["predecessor_hash"],
                now=now,
            )
        expires_at = to_ms(self._clock.now() + IDLE_S)
        await rows.prolong_session(tx, session_id, now=now, expires_at=expires_at)
        return await self._issue(tx, session, predecessor_hash=token_hash)

    async def _open(self, tx: Tx, user_id: str, device: str) -> IssuedTokens:
        session_id = self._random.new_id()
        now = self._now()
        await rows.add_session(
            tx,
            session_id=session_id,
            user_id=user_id,
            device=device,
            now=now,
            expires_at=to_ms(self._clock.now() + IDLE_S),
        )
        session = await rows.live_session(tx, session_id, now=now)
        assert session is not None
        subject = {"session": session_id}
        await self._audit.write(tx, "session_opened", user_id, facts={}, subject=subject)
        return await self._issue(tx, session, predecessor_hash=None)

    async def _issue(self, tx: Tx, session: Row, *, predecessor_hash: str | None) -> IssuedTokens:
        refresh = self._random.new_secret()
        await rows.add_refresh_token(
            tx,
            token_hash=_digest(refresh),
            session_id=session["id"],
            predecessor_hash=predecessor_hash,
            now=self._now(),
            expires_at=to_ms(self._clock.now() + IDLE_S),
        )
        access = self._signer.sign(
            ACCESS,
            {
                "sub": session["user_id"],
                "userId": session["user_id"],
                "sid": session["id"],
                "jti": self._random.new_id(),
                "email": session["email"],
            },
            life_s=self._access_token_s,
        )
        return IssuedTokens(
            user_id=session["user_id"],
            session_id=session["id"],
            access_token=Secret(access),
            refresh_token=Secret(refresh),
            expires_in=self._access_token_s,
        )

    # --- verifying and revoking -------------------------------------------------------------------

    async def verify(self, token: str) -> Claims:
        """Return the claims of a live access token. Raises SessionExpired.

        The result is cached for at most five seconds, under the token's hash.
        """
        if not token.isascii():
            raise SessionExpired("The access token is not valid or has expired.")
        key = hashlib.sha256(token.encode()).digest()
        claims = self._cache.get(key)
        if claims is not None and self._clock.now() < claims.expires_at:
            return claims
        started = self._cache.start_read()
        claims = await self._check(token)
        self._cache.keep(key, claims, started)
        return claims

    async def _check(self, token: str) -> Claims:
        try:
            body = self._signer.verify(token, ACCESS)
        except TokenRejected as error:
            raise SessionExpired("The access token is not valid or has expired.") from error
        async with self._database.reading() as tx:
            session = await rows.live_session(tx, str(body.get("sid")), now=self._now())
        if session is None or session["user_id"] != body["sub"]:
            raise SessionExpired("This session has ended.", hint="Sign in again.")
        return Claims(
            user_id=session["user_id"],
            session_id=session["id"],
            email=session["email"],
            tier=self._tariff.in_force(
                session["tier"], session["status"], session["past_due_since"], self._now()
            ),
            expires_at=float(body["exp"]),
        )

    async def sessions_of(self, user_id: str) -> list[Row]:
        """Return the live sessions: id, device, created_at, last_used_at, expires_at (ms)."""
        async with self._database.reading() as tx:
            return await rows.sessions_of(tx, user_id, now=self._now())

    async def revoke(self, user_id: str, session_id: str, *, why: str) -> None:
        """End one of the user's sessions. Raises NotFound."""
        async with self._database.transaction() as tx:
            ended = await self._revoke(tx, session_id, why=why, user_id=user_id)
        self._drop_session(session_id)  # again: a request may have read before the commit
        if not ended:
            raise NotFound("There is no such session.")

    async def revoke_all(self, tx: Tx, user_id: str, *, why: str) -> int:
        """End all sessions and pending hand-offs of the user; return the number of sessions.

        Runs in the caller's transaction. Call ``forget`` after the commit.
        """
        ended = await rows.revoke_sessions_of(tx, user_id, now=self._now(), why=why)
        for session_id in ended:
            subject = {"session": session_id}
            await self._audit.write(
                tx, "session_ended", user_id, facts={"why": why}, subject=subject
            )
        return len(ended)

    async def sweep(self) -> None:
        """Delete expired rows."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await rows.sweep_sessions(tx, now=to_ms(now), ended_before=to_ms(now - ENDED_KEPT_S))

    def forget(self, user_id: str) -> None:
        """Drop the user's sessions from the cache."""
        self._cache.drop_where(lambda claims: claims.user_id == user_id)

    async def _revoke(
        self, tx: Tx, session_id: str, *, why: str, user_id: str | None = None
    ) -> bool:
        self._drop_session(session_id)
        owner = await rows.revoke_session(tx, session_id, now=self._now(), why=why, user_id=user_id)
        if owner is not None:
            await self._audit.write(
                tx, "session_ended", owner, facts={"why": why}, subject={"session": session_id}
            )
        return owner is not None

    def _drop_session(self, session_id: str) -> None:
        self._cache.drop_where(lambda claims: claims.session_id == session_id)

    def _now(self) -> int:
        return to_ms(self._clock.now())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _proves(verifier: str, challenge: str) -> bool:
    """Return whether ``verifier`` is the S256 preimage of ``challenge`` (RFC 7636 section 4.6)."""
    if not _VERIFIER.match(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return compare_digest(expected, challenge)
