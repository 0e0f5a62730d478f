"""``cloud-broker keys new``: fresh key material, printed once and kept nowhere."""

from __future__ import annotations

import base64
import secrets

from cloud_broker.settings.parsers import KEY_BYTES


def new_keys() -> str:
    """Two lines of environment, each with one new key under a new id."""
    return "\n".join(
        f"{name}={_new_key()}" for name in ("BROKER_ENCRYPTION_KEYS", "BROKER_SIGNING_KEYS")
    )


def _new_key() -> str:
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    return f"k{secrets.token_hex(4)}:{key}"
