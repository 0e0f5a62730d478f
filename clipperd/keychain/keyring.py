"""Calls the OS keyring through its subprocess; every call may block."""

from __future__ import annotations

from typing import Any

from clipperd.keychain.child_process import Ask


class NoKeyring(Exception):
    """This machine has no usable keyring."""


class KeyringRefused(Exception):
    """The keyring raised an exception; the text is its class name."""


class Keyring:
    """One connection to the keyring. Every call raises NoKeyring, KeyringRefused or ChildExited."""

    def __init__(self, ask: Ask, service: str) -> None:
        """``service``: the keyring's name for our entries."""
        self._ask = ask
        self._service = service

    def get(self, name: str) -> str | None:
        """Return the entry, or None."""
        value = self._call("get", name)
        return None if value is None else str(value)

    def set(self, name: str, value: str) -> None:
        """Store the entry."""
        self._call("set", name, value)

    def delete(self, name: str) -> None:
        """Delete the entry. Raises KeyringRefused when there is none."""
        self._call("delete", name)

    def _call(self, do: str, name: str, value: str | None = None) -> Any:
        answer = self._ask({"do": do, "service": self._service, "name": name, "value": value})
        if "absent" in answer:
            raise NoKeyring
        if "error" in answer:
            raise KeyringRefused(answer["error"])
        return answer["value"]
