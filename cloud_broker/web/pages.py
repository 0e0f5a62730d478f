"""Renders the HTML pages that the browser shows during a sign-in."""

from __future__ import annotations

from html import escape

from aiohttp import web

from cloud_broker.errors import BrokerError
from cloud_broker.identity.signin import CompletedSignIn
from cloud_broker.randomness import Randomness

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.5rem;
color:#222;background:#fff}h1{font-size:1.4rem}a.button{display:inline-block;padding:.7rem 1.4rem;
border-radius:.5rem;background:#1f6feb;color:#fff;text-decoration:none}p.small{color:#666;
font-size:.85rem}@media(prefers-color-scheme:dark){body{color:#ddd;background:#191919}}
"""
_OPEN = 'location.href=document.getElementById("open").href'


def open_app_page(
    completed: CompletedSignIn, *, status: int, request_id: str, randomness: Randomness
) -> web.Response:
    """Name device and account, show a button that opens the app, and try to open it once."""
    device, account = escape(completed.device), escape(completed.account)
    url = escape(completed.url, quote=True)
    if completed.failure is not None:
        title = "Sign-in was not finished"
        text = (
            f"{_reason(completed.failure)}<p>Notion Clipper on the device <b>{device}</b> is not"
            " signed in. Return to the app to try again.</p>"
            f"{_trace(completed.failure, request_id)}"
        )
    else:
        title = "You are signed in"
        text = (
            f"<p>Notion Clipper on the device <b>{device}</b> now works in Notion as"
            f" <b>{account}</b>. Return to the app to continue. If that is not your device, close"
            " this page.</p>"
        )
    body = (
        f"<h1>{title}</h1>{text}<p>"
        f'<a class="button" id="open" href="{url}">Open Notion Clipper</a></p>'
        '<p class="small">You can close this page afterwards.</p>'
    )
    return _page(status, title, body, script=_OPEN, randomness=randomness)


def problem_page(
    error: BrokerError, *, status: int, request_id: str, randomness: Randomness
) -> web.Response:
    """Explain why the sign-in failed."""
    body = f"<h1>{escape(error.title)}</h1>{_reason(error)}{_trace(error, request_id)}"
    return _page(status, error.title, body, script=None, randomness=randomness)


def _reason(error: BrokerError) -> str:
    hint = f"<p>{escape(error.hint)}</p>" if error.hint else ""
    return f"<p>{escape(error.detail)}</p>{hint}"


def _trace(error: BrokerError, request_id: str) -> str:
    return f'<p class="small">{escape(error.code)} · {escape(request_id)}</p>'


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
            f"<title>{escape(title)} – Notion Clipper</title>"
            f'<style nonce="{nonce}">{_STYLE}</style></head>'
            f'<body><p class="small">Notion Clipper</p>{body}{code}</body></html>'
        ),
    )


def keep_unframed(response: web.StreamResponse) -> None:
    """Give an HTML response without a policy of its own the strictest one."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        for name, value in private_headers().items():
            response.headers.setdefault(name, value)


def private_headers(policy: str = "default-src 'none'; frame-ancestors 'none'") -> dict[str, str]:
    """Return headers for a response that may hold a hand-off: no cache, no frame, no referrer."""
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
