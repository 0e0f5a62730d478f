"""Decides on a request's Host, Origin and token; ``middleware/chain.py`` applies the decisions.

Every local program and, through browsers, every web page can reach a loopback port. Each check
stops one of them: Host stops DNS rebinding (those requests carry no Origin), Origin and
Sec-Fetch-Site stop web pages, the token stops programs.
"""

from __future__ import annotations

import hmac
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from clipperd.clock import Clock
from clipperd.settings.errors import ConfigInvalid
from clipperd.web.errors import (
    HostRefused,
    OriginRefused,
    TokenInQuery,
    TooManyAttempts,
    Unauthenticated,
)
from clipperd.web.routes import Caller
from clipperd.web.tokens import ApiTokens, token_hash

OWNER = Caller("owner", "owner", frozenset({"read", "clip", "admin"}))
"""The caller with the token of endpoint.json: the app's main process, the command line."""

ORIGINS_SETTING = "allowed_origins"

_BEARER = re.compile(r"Bearer +([A-Za-z0-9._~+/-]{1,512}=*)", re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s*]+", re.ASCII)
_TOKEN_NAMES = frozenset({"token", "access_token", "api_key", "apikey", "auth", "authorization"})
_MINUTE_S = 60.0
_WRONG_PER_MINUTE = 20  # wrong tokens answered with 401; later ones with 429
_WRONG_DELAY_S = 0.1  # seconds before a wrong token is answered, to slow down guessing


class Access:
    """Authenticates callers: the owner's token, the named clients' tokens, the allowed origins."""

    def __init__(
        self,
        owner_token: str,
        *,
        instance_id: str,
        tokens: ApiTokens,
        clock: Clock,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        """``allowed_origins``: exact origins beside the daemon's own, such as ``app://name``.

        Raises ConfigInvalid for ``null`` (every sandboxed frame sends it), wildcards and paths.
        """
        self.instance_id = instance_id
        self.tokens = tokens
        self.allowed_origins = frozenset(allowed_origins)
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigInvalid(f"{ORIGINS_SETTING}: {origin!r} is not an exact origin.")
        self._owner_hash = token_hash(owner_token)
        self._clock = clock
        self._wrong: deque[float] = deque(maxlen=_WRONG_PER_MINUTE)

    def proof_key(self, client_id: str | None) -> bytes | None:
        """Return the key of ``/v1/hello``: SHA-256 of the owner's or a client's token, or None."""
        if client_id is None or client_id == OWNER.client_id:
            return self._owner_hash
        return self.tokens.proof_key(client_id)

    async def caller(self, authorization: Sequence[str]) -> Caller:
        """Return the caller whose token the Authorization headers hold.

        Raises Unauthenticated, and TooManyAttempts from the 21st wrong token in a minute on. A
        valid token always passes: otherwise a program could lock all clients out.
        """
        match = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        if match is None:
            raise Unauthenticated(
                "Send the header Authorization: Bearer <token>, once.",
                hint="The owner's token is in endpoint.json.",
            )
        digest = token_hash(match[1])
        client = self.tokens.holding(digest)
        if hmac.compare_digest(digest, self._owner_hash):
            return OWNER
        if client is not None:
            await self.tokens.used(client.id)
            return Caller(client.id, client.name, frozenset(client.scopes))
        await self._refuse()
        raise Unauthenticated(
            "This token is not valid here.",
            hint="Read endpoint.json again, or make a new client token.",
        )

    async def _refuse(self) -> None:
        """Count a wrong token and delay the answer by a constant time. Raises TooManyAttempts."""
        now = self._clock.boot()
        full = len(self._wrong) == self._wrong.maxlen
        since = now - self._wrong[0] if full else _MINUTE_S
        self._wrong.append(now)
        await self._clock.sleep(_WRONG_DELAY_S)
        if full and since < _MINUTE_S:
            raise TooManyAttempts(
                "Too many wrong tokens were sent within a minute.",
                hint="Read endpoint.json again, then wait a moment.",
                retry_after=_MINUTE_S - since,
            )


def validate_host(hosts: Sequence[str], target: str, port: int) -> None:
    """Accept exactly one Host, 127.0.0.1 or localhost with the port, and a plain path.

    ``target`` is the request line's, undecoded. Raises HostRefused.
    """
    own = (f"127.0.0.1:{port}", f"localhost:{port}")
    if len(hosts) != 1 or hosts[0] not in own or not target.startswith("/"):
        raise HostRefused(
            "The Host header is not one of this daemon's own.",
            hint=f"Send Host: {own[0]} or {own[1]}, once, and a path without a host.",
            params={"header": "Host"},
        )


class Initiator(msgspec.Struct, frozen=True):
    """The headers that describe the page or app which sent a request."""

    origins: Sequence[str]
    site: str | None
    mode: str | None
    dest: str | None
    own: str  # the origin of this API as the request addresses it

    @classmethod
    def of(cls, headers: Mapping[str, str], origins: Sequence[str]) -> Initiator:
        """Read the headers. Browsers set them; web pages cannot."""
        return cls(
            origins,
            headers.get("Sec-Fetch-Site"),
            headers.get("Sec-Fetch-Mode"),
            headers.get("Sec-Fetch-Dest"),
            f"http://{headers.get('Host', '')}",
        )

    @property
    def is_navigation(self) -> bool:
        """Whether the browser follows a link or redirect, as at the end of a sign-in."""
        return self.mode == "navigate" and self.dest in (None, "document")


def validate_origin(sender: Initiator, allowed: frozenset[str], *, visitable: bool) -> str | None:
    """Return the allowed foreign origin, or None for no origin or the daemon's own.

    ``visitable``: a public GET, which a browser may open from another site. Raises OriginRefused
    for any other page, extension or app, also for the origin ``null``.
    """
    for origin in sender.origins:
        if len(sender.origins) > 1 or (origin != sender.own and origin not in allowed):
            raise _refused("Origin", origin)
    if sender.origins and sender.origins[0] != sender.own:
        return sender.origins[0]
    if sender.site in (None, "same-origin", "none") or sender.origins:
        return None
    if visitable and sender.is_navigation:
        return None
    raise _refused("Sec-Fetch-Site", sender.site)


def validate_query(names: Iterable[str]) -> None:
    """Refuse a token in the query string. Raises TokenInQuery."""
    if any(name.lower() in _TOKEN_NAMES for name in names):
        raise TokenInQuery(
            "A token in the address would end up in logs and histories.",
            hint="Send the header Authorization: Bearer <token>.",
        )


def _refused(header: str, value: str) -> OriginRefused:
    shown = value[:200].encode("utf-8", "replace").decode()  # the header may not be valid text
    return OriginRefused(
        f"The header {header} names a sender that is not allowed.",
        hint=f"Add the exact origin of the page to the setting {ORIGINS_SETTING}.",
        params={"header": header, "value": shown, "setting": ORIGINS_SETTING},
    )
