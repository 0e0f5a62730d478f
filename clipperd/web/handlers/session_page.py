"""The page a person sees in the browser at the end of a sign-in. No script, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from aiohttp import web

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem;"
    "color-scheme:light dark}h1{font-size:1.5rem}p{opacity:.8}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")

_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address still holds the hand-off token
    "X-Content-Type-Options": "nosniff",
}


def session_page(title: str, text: str, hint: str | None = None, status: int = 200) -> web.Response:
    """Render a heading and a sentence or two, all escaped."""
    more = f"<p>{escape(hint)}</p>" if hint else ""
    return web.Response(
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=_HEADERS,
        text=(
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{escape(title)}</title><style>{_STYLE}</style>"
            f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{more}</html>"
        ),
    )
