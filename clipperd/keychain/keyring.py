"""The system's keyring as the daemon sees it: three calls, each of which may block."""

from __future__ import annotations

from typing import Any

from clipperd.keychain.child_process import Ask


class NoKeyring(Exception):
    """This machine has no keyring that may be used."""


class KeyringRefused(Exception):
    """The keyring raised something; the text is the name of its class."""


class Keyring:
    """One conversation with it. Every call raises NoKeyring, KeyringRefused or Gone."""

    def __init__(self, ask: Ask, service: str) -> None:
        """``service`` is the name under which the entries are kept."""
        self._ask = ask
        self._service = service

    def get(self, name: str) -> str | None:
        """Return the entry or None."""
        value = self._answer("get", name)
        return None if value is None else str(value)

    def set(self, name: str, value: str) -> None:
        """Store the entry."""
        self._answer("set", name, value)

    def delete(self, name: str) -> None:
        """Remove the entry; raises when there is none."""
        self._answer("delete", name)

    def _answer(self, do: str, name: str, value: str | None = None) -> Any:
        answer = self._ask({"do": do, "service": self._service, "name": name, "value": value})
        if "absent" in answer:
            raise NoKeyring
        if "error" in answer:
            raise KeyringRefused(answer["error"])
        return answer["value"]
