"""The subprocess that calls the OS keyring; the only module that imports keyring.

With D-Bus and cryptography, keyring takes ten megabytes, used for a moment every ten minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from clipperd.keychain.child_process import serve

_REFUSED = ("keyring.backends.fail.", "keyring.backends.null.", "keyrings.alt.")


def handle(request: Mapping[str, Any]) -> dict[str, Any]:
    """Handle ``{"do", "service", "name", "value"?}``; ``do`` is get, set or delete.

    Returns ``{"value"}``, ``{"absent": true}`` without a keyring, or ``{"error"}``: only the class
    name of the exception, because its text may hold secrets.
    """
    do, entry = request["do"], (request["service"], request["name"])
    try:
        keyring = _system_keyring()
        if keyring is None:
            return {"absent": True}
        if do == "get":
            return {"value": keyring.get_password(*entry)}
        if do == "set":
            return {"value": keyring.set_password(*entry, request["value"])}
        return {"value": keyring.delete_password(*entry)}
    except Exception as error:  # backends are plug-ins that raise any error
        return {"error": type(error).__name__}


def _system_keyring() -> Any | None:
    """Return the keyring of an accepted class, or None when none is safe. Blocks."""
    import keyring

    found = keyring.get_keyring()
    for backend in (found, *getattr(found, "backends", ())):
        kind = f"{type(backend).__module__}.{type(backend).__qualname__}"
        chain = kind.startswith("keyring.backends.chainer.")
        if not chain and not kind.startswith(_REFUSED) and backend.priority >= 1:
            return backend
    return None


if __name__ == "__main__":
    sys.exit(serve(handle))
