"""Plain loopback HTTP for the demo, and a browser that signs in by itself."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urljoin, urlsplit

_WAIT_S = 30.0
_HOPS = 12
_LOOPBACK = ("127.0.0.1", "localhost")


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


def fetch(
    method: str,
    url: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, list[str]], bytes]:
    """Make one request to this machine; return status, headers by lower-case name, body."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
        raise DemoFailed(f"The demo leaves this machine for nothing, so not for {parts.hostname}.")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_WAIT_S)
    sent = dict(headers or {})
    raw = None
    if body is not None:
        raw = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    try:
        target = parts.path or "/"
        connection.request(method, f"{target}?{parts.query}" if parts.query else target, raw, sent)
        response = connection.getresponse()
        found: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            found.setdefault(name.lower(), []).append(value)
        return response.status, found, response.read()
    finally:
        connection.close()


def fetch_json(method: str, url: str, body: object = None) -> dict[str, Any]:
    """The same for JSON answers. Raises DemoFailed on an error status."""
    status, _, raw = fetch(method, url, body)
    if status >= 400:
        raise DemoFailed(f"{method} {urlsplit(url).path} was answered {status}.")
    value = json.loads(raw or b"{}")
    assert isinstance(value, dict)
    return value


def sign_in(login_url: str) -> None:
    """Follow the OAuth redirects as a browser does; click "Allow" by adding ``auto=1``."""
    url = login_url
    jar: dict[int, dict[str, str]] = {}  # cookies by port: each server has one
    for _ in range(_HOPS):
        port = urlsplit(url).port or 80
        if urlsplit(url).path.endswith("/v1/oauth/authorize"):
            url += "&auto=1"
        cookies = jar.setdefault(port, {})
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        status, headers, _ = fetch("GET", url, headers={"Cookie": cookie} if cookie else None)
        for line in headers.get("set-cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name.strip()] = value.strip()
        if status not in (301, 302, 303, 307, 308):
            if status >= 400:
                raise DemoFailed(f"{urlsplit(url).path} answered the sign-in with {status}.")
            return
        url = urljoin(url, headers["location"][0])
    raise DemoFailed("The sign-in went round in circles.")
