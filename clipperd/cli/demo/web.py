"""HTTP on the loopback interface for the demo, and a sign-in without a browser."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urljoin, urlsplit

_TIMEOUT_S = 30.0
_MAX_REDIRECTS = 12
_LOOPBACK = ("127.0.0.1", "localhost")


class DemoFailed(Exception):
    """The demo failed; the text is the reason."""


def fetch(
    method: str,
    url: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, list[str]], bytes]:
    """Send one request to this machine; return status, headers by lower-case name, body."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
        raise DemoFailed(f"The demo connects only to this machine, not to {parts.hostname}.")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_TIMEOUT_S)
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
    """Send one request; return the JSON object of its answer. Raises DemoFailed."""
    status, _, raw = fetch(method, url, body)
    if status >= 400:
        raise DemoFailed(f"{method} {urlsplit(url).path} was answered {status}.")
    value = json.loads(raw or b"{}")
    assert isinstance(value, dict)
    return value


def sign_in(login_url: str) -> None:
    """Follow the OAuth redirects as a browser does; ``auto=1`` clicks "Allow"."""
    url = login_url
    jar: dict[int, dict[str, str]] = {}  # cookies by the server's port
    for _ in range(_MAX_REDIRECTS):
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
    raise DemoFailed("The sign-in was redirected too often.")
