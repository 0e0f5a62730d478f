"""Which URLs Notion takes, and one form for two spellings of the same URL."""

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
    """Say whether ``url`` may stand behind text: http, https, mailto, tel; else Notion answers
    400 "Invalid URL for link" and the whole request is lost.
    """
    if is_web(url):
        return True
    scheme, _, rest = url.partition(":")
    if scheme.lower() not in ("mailto", "tel") or utf16_units(url) > URL_UNITS:
        return False
    return bool(rest) and not _BAD.search(url)


def resolve(url: str, base: str | None) -> str:
    """Make ``url`` absolute against ``base`` where it is relative and a base is known."""
    if base is None or _SCHEME.match(url):
        return url
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def canonical(url: str) -> str:
    """Give one spelling to URLs that differ as Notion's echo may: case of scheme and host,
    default port, the slash after a bare host, percent-encoding of non-ASCII characters.
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
    """Length in UTF-16 code units, which is how Notion counts characters."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for c in text if c > "\uffff")
