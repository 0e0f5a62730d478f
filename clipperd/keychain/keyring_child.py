"""The process that talks to the system's keyring; the only module that imports keyring.

With what it loads (D-Bus, cryptography) that takes ten megabytes, wanted for a moment every ten
minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from clipperd.keychain.child_process import serve

_REFUSED = ("keyring.backends.fail.", "keyring.backends.null.", "keyrings.alt.")


def answered(question: Mapping[str, Any]) -> dict[str, Any]:
    """Do what ``{"do", "service", "name", "value"?}`` asks; ``do`` is get, set or delete.

    The answer is ``{"value"}``, ``{"absent": true}`` without a keyring, or ``{"error"}``: the name
    of what was raised, for its text may hold anything.
    """
    do, where = question["do"], (question["service"], question["name"])
    try:
        keyring = _system_keyring()
        if keyring is None:
            return {"absent": True}
        if do == "get":
            return {"value": keyring.get_password(*where)}
        if do == "set":
            return {"value": keyring.set_password(*where, question["value"])}
        return {"value": keyring.delete_password(*where)}
    except Exception as error:  # backends are plug-ins: each raises what its library raises
        return {"error": type(error).__name__}


def _system_keyring() -> Any | None:
    """This machine's keyring, accepted by its class; None when none is safe. Blocks."""
    import keyring

    found = keyring.get_keyring()
    for backend in (found, *getattr(found, "backends", ())):
        kind = f"{type(backend).__module__}.{type(backend).__qualname__}"
        chain = kind.startswith("keyring.backends.chainer.")
        if not chain and not kind.startswith(_REFUSED) and backend.priority >= 1:
            return backend
    return None


if __name__ == "__main__":
    sys.exit(serve(answered))
