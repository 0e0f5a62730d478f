"""The process that seals and opens the secrets file; the only module that imports cryptography.

AES-256-GCM under a key that scrypt derives from a passphrase or from the bytes of a key file.
The package takes eight megabytes and scrypt another 32, wanted for a moment.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from typing import Any

from clipperd.keychain.child_process import serve

# 32 MiB, some 100 ms: one of the settings of
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt
COST, BLOCKS, LANES = 2**15, 8, 3
_BOUND = f"clipperd-secrets 1 {COST} {BLOCKS} {LANES}".encode()
"""What is in the clear in the file, as associated data of the box."""


def answered(question: Mapping[str, Any]) -> dict[str, Any]:
    """Do what ``do`` asks; bytes travel as base64.

    ``derive {material, salt}`` gives ``{key}``; ``seal {key, nonce, clear}`` gives ``{box}``;
    ``open {key, nonce, box}`` gives ``{clear}``, or ``{wrong}``: another key, or damage.
    """
    given = {name: base64.b64decode(value) for name, value in question.items() if name != "do"}
    match question["do"]:
        case "derive":
            return {"key": _text(_derive(given["material"], given["salt"]))}
        case "seal":
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            box = AESGCM(given["key"]).encrypt(given["nonce"], given["clear"], _BOUND)
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
        clear = AESGCM(given["key"]).decrypt(given["nonce"], given["box"], _BOUND)
    except InvalidTag:
        return {"wrong": "key"}
    except ValueError:  # a nonce or box of a length that no writer made
        return {"wrong": "form"}
    return {"clear": _text(clear)}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


if __name__ == "__main__":
    sys.exit(serve(answered))
