"""The port to stored secrets, and how safely each mode stores them."""

from __future__ import annotations

from typing import Literal, Protocol

Mode = Literal["opening", "secure", "memory", "file"]


class Secrets(Protocol):
    """A few named strings that survive a restart where the machine allows it."""

    @property
    def mode(self) -> Mode:
        """Where a secret set now ends up; ``opening`` until the first use has settled it."""

    @property
    def why(self) -> str | None:
        """Why it is not the keyring, as a sentence for people; None when all is well."""

    async def open(self) -> None:
        """Settle the mode. Raises SecretsUnusable when a file cannot be opened (exit 7)."""

    async def get(self, name: str) -> str | None:
        """Return the secret or None. Raises KeychainLocked when that cannot be known now."""

    async def set(self, name: str, value: str) -> None:
        """Keep ``value``. Always succeeds: what cannot be stored is kept in memory, and said."""

    async def delete(self, name: str) -> None:
        """Forget the secret; forgetting nothing is fine."""
