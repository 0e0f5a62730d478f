"""The few HTML pages that a person sees in the browser during a sign-in."""

from __future__ import annotations

from html import escape

from aiohttp import web

from cloud_broker.errors import BrokerError
from cloud_broker.randomness import Randomness

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.5rem;
color:#222;background:#fff}h1{font-size:1.4rem}a.button{display:inline-block;padding:.7rem 1.4rem;
border-radius:.5rem;background:#1f6feb;color:#fff;text-decoration:none}p.small{color:#666;
font-size:.85rem}@media(prefers-color-scheme:dark){body{color:#ddd;background:#191919}}
"""
_OPEN = 'location.href=document.getElementById("open").href'


def open_app_page(url: str, *, has_failed: bool, randomness: Randomness) -> web.Response:
    """A button that opens the app at ``url``, and one attempt without a click."""
    title = "Sign-in was not finished" if has_failed else "You are signed in"
    text = "Return to the app to try again." if has_failed else "Return to the app to go on."
    body = (
        f"<h1>{title}</h1><p>{text}</p>"
        f'<p><a class="button" id="open" href="{escape(url, quote=True)}">Open the app</a></p>'
        '<p class="small">You can close this page afterwards.</p>'
    )
    return _page(200, title, body, script=_OPEN, randomness=randomness)


def problem_page(
    error: BrokerError, *, status: int, request_id: str, randomness: Randomness
) -> web.Response:
    """A sign-in problem in words."""
    hint = f"<p>{escape(error.hint)}</p>" if error.hint else ""
    body = (
        f"<h1>{escape(error.title)}</h1><p>{escape(error.detail)}</p>{hint}"
        f'<p class="small">{escape(error.code)} · {escape(request_id)}</p>'
    )
    return _page(status, error.title, body, script=None, randomness=randomness)


def _page(
    status: int, title: str, body: str, *, script: str | None, randomness: Randomness
) -> web.Response:
    nonce = randomness.new_secret()
    code = f'<script nonce="{nonce}">{script}</script>' if script else ""
    return web.Response(
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=private_headers(
            "default-src 'none'; "
            f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        text=(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f'<title>{escape(title)}</title><style nonce="{nonce}">{_STYLE}</style></head>'
            f"<body>{body}{code}</body></html>"
        ),
    )


def private_headers(policy: str = "default-src 'none'; frame-ancestors 'none'") -> dict[str, str]:
    """Headers of an answer that may hold a hand-off: not cached, not framed, not referred to."""
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
