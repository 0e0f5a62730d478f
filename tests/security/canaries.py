"""Harvests secrets from the real traffic, and reports each place that holds one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.security.witness import Exchange

_SECRET_FIELDS = ("access_token", "refresh_token", "token", "code", "code_verifier")


def word(kind: str) -> str:
    """A word that stands nowhere else."""
    return f"{kind}{secrets.token_hex(8)}"


@dataclass
class Written:
    """What the person wrote, read and looked for: private, but no key to anything."""

    body: str = field(default_factory=lambda: word("clipbody"))
    title: str = field(default_factory=lambda: word("cliptitle"))
    source: str = field(default_factory=lambda: word("clipsource"))
    edited: str = field(default_factory=lambda: word("clipedited"))
    refused: str = field(default_factory=lambda: word("cliprefused"))
    page: str = field(default_factory=lambda: word("pagetitle"))
    heading: str = field(default_factory=lambda: word("pageheading"))
    search: str = field(default_factory=lambda: word("searchtext"))

    def clips(self) -> dict[str, str]:
        """Text of clips."""
        names = ("body", "title", "source", "edited", "refused")
        return {name: getattr(self, name) for name in names}

    def all(self) -> dict[str, str]:
        """Everything."""
        return dict(vars(self))


def harvest(exchanges: Iterable[Exchange]) -> dict[str, set[str]]:
    """Every token, code and JWT that was sent, by kind: server and field."""
    found: dict[str, set[str]] = {}
    for each in exchanges:
        for name, value in _fields(each):
            if len(value) >= 16:
                found.setdefault(f"{each.server} {name}", set()).add(value)
        scheme, _, value = each.authorization.partition(" ")
        if scheme in ("Bearer", "Basic") and value:
            found.setdefault(f"{each.server} {scheme}", set()).add(value)
    return found


def _fields(each: Exchange) -> Iterator[tuple[str, str]]:
    for url in (each.url, each.location):
        for name, values in parse_qs(urlsplit(url).query).items():
            if name in _SECRET_FIELDS:
                yield name, values[0]
    if "oauth" in each.url or "/auth/" in each.url or "/v1/clients" in each.url:
        for raw in (each.sent, each.answered):
            body = _decoded(raw)
            for name in _SECRET_FIELDS:
                if isinstance(body, dict) and isinstance(body.get(name), str):
                    yield name, body[name]


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def leaks(where: str, text: bytes | str, canaries: dict[str, str]) -> list[str]:
    """Which canaries stand in ``text``, plain, percent-encoded or JSON-escaped."""
    whole = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    forms = (whole, unquote(whole.decode("utf-8", "replace")).encode())
    return [
        f"{kind} ({value[:20]}…) in {where}"
        for kind, value in canaries.items()
        if any(value.encode() in form for form in forms)
    ]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below ``folder`` with its bytes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
