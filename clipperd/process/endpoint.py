"""Writes and reads endpoint.json, by which a client finds the daemon and verifies it.

The file exists while the API is up. A kill leaves it, so a client trusts it only after the
daemon has answered ``POST /v1/hello`` with the proof, which requires the token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clipperd.settings.private_file import write_private

API = 1  # version of the local API
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,128}")  # 43 characters of base64url carry 256 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The content of endpoint.json. ``started_at``: RFC 3339; ``token``: the owner token."""

    url: str
    port: int
    pid: int
    started_at: str
    instance_id: str
    token: str = field(repr=False)
    api: int = API


def proof(token: str, nonce: str, port: int, instance_id: str) -> str:
    """Return the proof that ``POST /v1/hello`` answers: a hex HMAC-SHA256 (see docs/api.md)."""
    key = hashlib.sha256(token.encode()).digest()
    return hmac.new(key, f"{nonce}:{port}:{instance_id}".encode(), hashlib.sha256).hexdigest()


def owner_token(path: Path, new_token: Callable[[], str]) -> str:
    """Return the owner token stored in ``path``; create it with ``new_token`` the first time.

    ``new_token`` must return at least 256 bits, for example ``lambda: secrets.token_urlsafe(32)``.
    Replaces an invalid file: clients read the new token from endpoint.json.
    """
    try:
        stored = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        stored = ""
    if _TOKEN.fullmatch(stored):
        return stored
    token = new_token()
    if not _TOKEN.fullmatch(token):
        raise ValueError("new_token must return 43 or more characters of base64url")
    write_private(path, token + "\n")
    return token


def write(path: Path, endpoint: Endpoint) -> None:
    """Write ``endpoint`` atomically, readable by the user only.

    Not synced: after a power cut the process is gone.
    """
    write_private(path, json.dumps(asdict(endpoint)) + "\n", durable=False)


def read(path: Path) -> Endpoint | None:
    """Return the endpoint, or None when the file is missing or invalid."""
    try:
        given = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return _checked(given) if isinstance(given, dict) else None


def remove(path: Path, instance_id: str) -> None:
    """Delete the file of this instance at a clean exit; leave another instance's file."""
    found = read(path)
    if found is not None and found.instance_id == instance_id:
        path.unlink(missing_ok=True)


def _checked(given: dict[str, Any]) -> Endpoint | None:
    texts = [given.get(k) for k in ("url", "started_at", "instance_id", "token")]
    numbers = [given.get(k) for k in ("port", "pid", "api")]
    if not all(isinstance(t, str) and t for t in texts):
        return None
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
        return None
    if given["api"] != API or given["port"] > 65535 or not _TOKEN.fullmatch(given["token"]):
        return None
    known = Endpoint.__dataclass_fields__
    return Endpoint(**{k: v for k, v in given.items() if k in known})
