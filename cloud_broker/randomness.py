"""Randomness as an argument: ids and unguessable values."""

from __future__ import annotations

import secrets
import uuid
from typing import Protocol


class Randomness(Protocol):
    """Where fresh ids and secrets come from."""

    def new_id(self) -> str:
        """A UUID for a row."""

    def new_secret(self) -> str:
        """256 unguessable bits, 43 URL-safe characters."""


class SystemRandomness:
    """The operating system's generator."""

    def new_id(self) -> str:
        """A random UUID (version 4)."""
        return str(uuid.uuid4())

    def new_secret(self) -> str:
        """256 bits of the system's generator."""
        return secrets.token_urlsafe(32)
