"""The port to stored secrets, and the ways to store them."""

from __future__ import annotations

from typing import Literal, Protocol

Mode = Literal["opening", "secure", "memory", "file"]


class Secrets(Protocol):
    """A few named strings that survive a restart if the machine allows it."""

    @property
    def mode(self) -> Mode:
        """The current storage; ``opening`` until the first use."""

    @property
    def why(self) -> str | None:
        """A sentence for the user: why the keyring is not in use; None if it is."""

    async def open(self) -> None:
        """Determine the mode. Raises SecretsUnusable when a file cannot be opened (exit 7)."""

    async def get(self, name: str) -> str | None:
        """Return the secret, or None. Raises KeychainLocked when the keyring is unavailable."""

    async def set(self, name: str, value: str) -> None:
        """Store ``value``; if that fails, keep it in memory and set ``why``."""

    async def delete(self, name: str) -> None:
        """Delete the secret, if it exists."""
