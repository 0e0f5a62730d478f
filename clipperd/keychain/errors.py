"""Errors of the keychain."""

from __future__ import annotations

from clipperd.errors import BrokerUnreachable, ClipperdError, Kind


class KeychainLocked(BrokerUnreachable):
    """The keyring is locked, so the session's token is unavailable now: try later."""

    code = "keychain_locked"
    title = "The system keyring is locked"

    def __init__(self, detail: str) -> None:
        """Treat it like being offline: the request has not been sent."""
        super().__init__(detail, sent=False)


class SecretsUnusable(ClipperdError):
    """The encrypted secrets file of the settings cannot be opened (exit 7)."""

    code = "secrets_unusable"
    kind = Kind.UNAVAILABLE
    title = "The stored session cannot be opened"
