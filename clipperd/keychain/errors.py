"""Errors of the keychain."""

from __future__ import annotations

from clipperd.errors import BrokerUnreachable, ClipperdError, Kind


class KeychainLocked(BrokerUnreachable):
    """The keyring exists but does not open now, so there is nothing to sign in with: try later."""

    code = "keychain_locked"
    title = "The system keyring is locked"

    def __init__(self, detail: str) -> None:
        """Nothing was sent: to whoever wanted to send, this is the same as being offline."""
        super().__init__(detail, sent=False)


class SecretsUnusable(ClipperdError):
    """The encrypted secrets file that the settings ask for cannot be opened (exit 7)."""

    code = "secrets_unusable"
    kind = Kind.UNAVAILABLE
    title = "The stored session cannot be opened"
