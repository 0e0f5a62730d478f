"""Checks whether Notion accepts a URL, and normalizes URLs for comparison."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from clipperd.content.limits import URL_UNITS

_WEB = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BAD = re.compile(r"[\x00-\x20\x7f<>\"]")
_SAFE = "/%:@!$&'()*+,;=~-._?#[]|"


def is_web(url: str) -> bool:
    """Say whether ``url`` is an absolute http(s) URL that Notion accepts for media."""
    if utf16_units(url) > URL_UNITS or _BAD.search(url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return parts.scheme.lower() in _WEB and bool(host)


def is_link(url: str) -> bool:
    """Say whether ``url`` may link text: http, https, mailto or tel. Notion refuses a whole request
    for any other, with 400 "Invalid URL for link".
    """
    if is_web(url):
        return True
    scheme, _, rest = url.partition(":")
    if scheme.lower() not in ("mailto", "tel") or utf16_units(url) > URL_UNITS:
        return False
    return bool(rest) and not _BAD.search(url)


def resolve(url: str, base: str | None) -> str:
    """Resolve a relative ``url`` against ``base``, if there is one."""
    if base is None or _SCHEME.match(url):
        return url
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def canonical(url: str) -> str:
    """Return one spelling for URLs that differ only as Notion may rewrite them: case of scheme and
    host, default port, the slash after a bare host, percent-encoding of non-ASCII characters.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError:
        return url
    if not host:
        return url
    scheme = parts.scheme.lower()
    try:
        host = host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        host = quote(host)
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS.get(scheme):
        place += f":{port}"
    user, at, _ = parts.netloc.rpartition("@")
    path, query, fragment = (
        quote(p, safe=_SAFE) for p in (parts.path, parts.query, parts.fragment)
    )
    return urlunsplit((scheme, user + at + place, path or "/", query, fragment))


def utf16_units(text: str) -> int:
    """Return the length in UTF-16 code units, the way Notion counts characters."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for c in text if c > "\uffff")
