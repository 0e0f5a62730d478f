"""Signs and verifies the broker's tokens: EdDSA JWTs with a key id.

All keys use one algorithm. Type, issuer, audience and the listed claims are required; the broker's
own clock decides about times (RFC 8725, RFC 9068).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloud_broker.clock import Clock

ALGORITHM = "EdDSA"
ACCESS = "at+jwt"  # RFC 9068 section 2.1
HANDOFF = "handoff+jwt"
SKEW_S = 60  # seconds that another instance's clock may be ahead
MAX_LENGTH = 4096  # characters; the broker signs no longer token
_REQUIRED = {
    ACCESS: ["iss", "aud", "sub", "iat", "exp", "jti", "sid"],
    HANDOFF: ["iss", "aud", "sub", "iat", "exp", "jti"],
}


class TokenRejected(Exception):
    """The token is not one that this broker signed for this use, or it has expired."""


class Signer:
    """Signs with the first key; verifies with any key."""

    def __init__(self, keys: Sequence[tuple[str, bytes]], *, issuer: str, clock: Clock) -> None:
        """Take (kid, 32-byte Ed25519 seed) pairs, at least one."""
        self._private = {kid: Ed25519PrivateKey.from_private_bytes(seed) for kid, seed in keys}
        self._public = {kid: key.public_key() for kid, key in self._private.items()}
        self._first = keys[0][0]
        self._issuer = issuer
        self._clock = clock

    def sign(self, typ: str, claims: Mapping[str, Any], *, life_s: float) -> str:
        """Sign ``claims`` (sub and jti among them) as ``typ``, valid for ``life_s`` seconds."""
        now = int(self._clock.now())
        body = {
            **claims,
            "iss": self._issuer,
            "aud": self._audience(typ),
            "iat": now,
            "exp": now + int(life_s),
        }
        return jwt.encode(
            body,
            self._private[self._first],
            algorithm=ALGORITHM,
            headers={"kid": self._first, "typ": typ},
        )

    def verify(self, token: str, typ: str) -> dict[str, Any]:
        """Return the claims of a token of ``typ`` that is valid now. Raises TokenRejected."""
        if len(token) > MAX_LENGTH:
            raise TokenRejected("too long")
        try:
            header = jwt.get_unverified_header(token)
            key = self._public.get(str(header.get("kid")))
            if key is None or header.get("typ") != typ:
                raise TokenRejected("another key or type")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience(typ),
                issuer=self._issuer,
                options={
                    "require": _REQUIRED[typ],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenRejected("not a token of this broker") from error
        now = self._clock.now()
        times = (claims["iat"], claims["exp"])
        if not all(type(moment) is int for moment in times):
            raise TokenRejected("times are not whole numbers")
        if now >= claims["exp"] or claims["iat"] > now + SKEW_S:
            raise TokenRejected("expired or not yet valid")
        return claims

    def public_keys(self) -> dict[str, Any]:
        """Return the JSON Web Key Set of all keys (RFC 7517, RFC 8037)."""
        keys = []
        for kid, key in self._public.items():
            raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            point = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
            keys.append(
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "use": "sig",
                    "alg": ALGORITHM,
                    "kid": kid,
                    "x": point,
                }
            )
        return {"keys": keys}

    def _audience(self, typ: str) -> str:
        return f"{self._issuer}/api/auth/token" if typ == HANDOFF else f"{self._issuer}/api"
