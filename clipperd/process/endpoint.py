"""endpoint.json: how a client finds the daemon, and how it knows that it found the right one.

The file appears when the API is up and goes at a clean exit. After a kill it stays behind; a
client therefore believes nothing in it before the daemon has answered ``POST /v1/hello`` with
the proof, which only a holder of the token can compute.
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

API = 1
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,128}")  # 43 characters of base64url carry 256 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The content of endpoint.json. ``started_at`` is RFC 3339; ``token`` is the owner's."""

    url: str
    port: int
    pid: int
    started_at: str
    instance_id: str
    token: str = field(repr=False)
    api: int = API


def proof(token: str, nonce: str, port: int, instance_id: str) -> str:
    """Return what ``POST /v1/hello`` must answer: hex HMAC-SHA256, contract of the local API."""
    key = hashlib.sha256(token.encode()).digest()
    return hmac.new(key, f"{nonce}:{port}:{instance_id}".encode(), hashlib.sha256).hexdigest()


def owner_token(path: Path, new_token: Callable[[], str]) -> str:
    """Return the owner's token, made by ``new_token`` the first time and kept in ``path``.

    ``new_token`` must give at least 256 bits, for example ``lambda: secrets.token_urlsafe(32)``.
    A file that does not hold a token is replaced: clients read the new one from endpoint.json.
    """
    try:
        kept = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        kept = ""
    if _TOKEN.fullmatch(kept):
        return kept
    token = new_token()
    if not _TOKEN.fullmatch(token):
        raise ValueError("new_token must give 43 or more characters of base64url")
    write_private(path, token + "\n")
    return token


def write(path: Path, endpoint: Endpoint) -> None:
    """Publish ``endpoint``: whole or not at all, readable by the user only.

    Not synced: after a power cut it would name a process that is gone.
    """
    write_private(path, json.dumps(asdict(endpoint)) + "\n", durable=False)


def read(path: Path) -> Endpoint | None:
    """Return what is published, or None when there is nothing or nothing usable."""
    try:
        given = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return _checked(given) if isinstance(given, dict) else None


def remove(path: Path, instance_id: str) -> None:
    """Unpublish this instance at a clean exit; another instance's file is left alone."""
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
