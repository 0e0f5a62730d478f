"""Applies faults to responses: errors, dropped connections and broken bodies."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from cloud_broker.sandbox.api.call import Answer
from cloud_broker.sandbox.clock import http_date
from cloud_broker.sandbox.errors import NotionError, plain, rate_limited
from cloud_broker.sandbox.faults import Rule

MEGABYTE = 1_000_000
COMMITTED = (
    "The change was saved, but the response could not be built in time. "
    "Read the object again instead of repeating the write."
)
DEADLINE_MS = "55000"
_HTML = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n"
    "</body>\r\n</html>\r\n"
)


def refusal(rule: Rule, answer: Answer | None, now: float) -> NotionError | None:
    """Return the error that ``rule`` sends instead of the response, or None.

    ``answer`` is the result of an applied write; ``now`` the sandbox's time.
    """
    match rule.kind:
        case "429" | "529":
            return _wait(rule, now)
        case "409" | "uncommitted_503":
            return plain(int(rule.kind[-3:]))
        case "5xx_before" | "5xx_after":
            return plain(int(rule.params["status"]))
        case "error":
            given = rule.params
            return plain(int(given["status"]), code=given["code"], message=given["message"])
        case "committed_503" if answer is not None:
            return committed(rule, answer)
        case _:
            return None


def _wait(rule: Rule, now: float) -> NotionError:
    seconds = int(rule.params["retry_after"])
    error = rate_limited(seconds, rule.params["reason"]) if rule.kind == "429" else plain(529)
    error.headers["Retry-After"] = (
        http_date(now + seconds) if rule.params["as_date"] else str(seconds)
    )
    return error


def committed(rule: Rule, answer: Answer) -> NotionError:
    """Return the 503 of a saved write (https://developers.notion.com/reference/request-limits)."""
    return NotionError(
        503,
        "service_unavailable",
        COMMITTED,
        extra={
            "from": "public_api",
            "elapsed_ms": str(int(rule.params["elapsed_ms"])),
            "deadline_ms": DEADLINE_MS,
            "retry_guidance": ["Read the object again.", "Do not repeat the write."],
            "committed_resource_id": answer.resource,
            "committed_child_ids": list(answer.created),
        },
    )


def drop(request: web.Request) -> web.Response:
    """Close the connection without a response."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def html_502(ray: str) -> web.Response:
    """Answer as Cloudflare does for an unavailable Notion: HTML, cf-ray, no request id."""
    return web.Response(
        status=502,
        text=_HTML,
        content_type="text/html",
        headers={"cf-ray": ray, "server": "cloudflare"},
    )


async def spoil(
    request: web.Request, rule: Rule, status: int, body: bytes, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send an unusable response to an applied write."""
    if rule.kind == "garbage":
        broken = b'{"object":"list","results":[{"object":' + b"\xff\xfe<!-- " + body[:20]
        return web.Response(body=broken, status=status, headers=headers)
    if rule.kind == "huge":
        return await _huge(request, int(rule.params["mb"] * MEGABYTE), status, body, headers)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _huge(
    request: web.Request, size: int, status: int, body: bytes, headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    await response.write(b'{"padding":"')
    piece = b"x" * 65_536
    for _ in range(max(1, size // len(piece))):
        await response.write(piece)
    rest = body[1:] if len(msgspec.json.decode(body)) else b"}"
    await response.write(b'",' + rest if rest != b"}" else b'"}')
    await response.write_eof()
    return response
