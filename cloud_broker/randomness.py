"""Makes ids and secrets; every other module takes a ``Randomness`` as an argument."""

from __future__ import annotations

import secrets
import uuid
from typing import Protocol


class Randomness(Protocol):
    """A source of new ids and secrets."""

    def new_id(self) -> str:
        """Return a UUID for a row."""

    def new_secret(self) -> str:
        """Return 256 random bits as 43 URL-safe characters."""


class SystemRandomness:
    """The operating system's generator."""

    def new_id(self) -> str:
        """Return a random UUID (version 4)."""
        return str(uuid.uuid4())

    def new_secret(self) -> str:
        """Return 256 bits of the system's generator."""
        return secrets.token_urlsafe(32)
