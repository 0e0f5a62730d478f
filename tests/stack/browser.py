"""Plays the user's browser: follows the sign-in's redirects, keeps cookies, and consents."""

from __future__ import annotations

from urllib.parse import urlencode, urljoin, urlsplit

from clipperd.cli.demo.web import fetch

_HOPS = 12


def consent(login_url: str, **who: str) -> None:
    """Sign in at the sandbox's authorize page; ``user`` and ``workspace`` choose as whom."""
    url = login_url
    jar: dict[int, dict[str, str]] = {}  # by port: each program here has one
    for _ in range(_HOPS):
        if urlsplit(url).path.endswith("/v1/oauth/authorize"):
            url += "&" + urlencode({"auto": "1", **who})
        cookies = jar.setdefault(urlsplit(url).port or 80, {})
        sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
        status, headers, body = fetch("GET", url, headers={"Cookie": sent} if sent else None)
        for line in headers.get("set-cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name.strip()] = value.strip()
        if status not in (301, 302, 303, 307, 308):
            assert status < 400, f"{urlsplit(url).path}: {status} {body[:300]!r}"
            return
        url = urljoin(url, headers["location"][0])
    raise AssertionError("the sign-in went round in circles")
