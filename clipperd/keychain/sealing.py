"""The subprocess that encrypts the secrets file; the only module that imports cryptography.

It uses AES-256-GCM with a key that scrypt derives from a passphrase or a key file. The package
takes eight megabytes and scrypt another 32, for a moment.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from typing import Any

from clipperd.keychain.child_process import serve

# 32 MiB and some 100 ms, as recommended by
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt
COST, BLOCKS, LANES = 2**15, 8, 3
_ASSOCIATED_DATA = f"clipperd-secrets 1 {COST} {BLOCKS} {LANES}".encode()
"""The unencrypted fields of the file, authenticated with the box."""


def handle(request: Mapping[str, Any]) -> dict[str, Any]:
    """Handle a request of kind ``do``, with bytes as base64.

    ``derive {material, salt}`` returns ``{key}``; ``seal {key, nonce, clear}`` returns ``{box}``;
    ``open {key, nonce, box}`` returns ``{clear}``, or ``{wrong}``: ``key`` or ``form``.
    """
    given = {name: base64.b64decode(value) for name, value in request.items() if name != "do"}
    match request["do"]:
        case "derive":
            return {"key": _text(_derive(given["material"], given["salt"]))}
        case "seal":
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            box = AESGCM(given["key"]).encrypt(given["nonce"], given["clear"], _ASSOCIATED_DATA)
            return {"box": _text(box)}
        case _:
            return _open(given)


def _derive(material: bytes, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=COST, r=BLOCKS, p=LANES).derive(material)


def _open(given: Mapping[str, bytes]) -> dict[str, Any]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        clear = AESGCM(given["key"]).decrypt(given["nonce"], given["box"], _ASSOCIATED_DATA)
    except InvalidTag:
        return {"wrong": "key"}
    except ValueError:  # a nonce or box of an impossible length
        return {"wrong": "form"}
    return {"clear": _text(clear)}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


if __name__ == "__main__":
    sys.exit(serve(handle))
