"""``POST /v1/convert``: what content would become on a page. Sends nothing, stores nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from clipperd.content import chunks, convert
from clipperd.errors import ContentInvalid, FormatUnsupported
from clipperd.web.routes import Route, answer, parse_body


class ConvertBody(msgspec.Struct, forbid_unknown_fields=True):
    """Content as ``POST /v1/clips`` takes it."""

    content: convert.Content


class LossView(msgspec.Struct):
    """One thing that Notion cannot hold."""

    kind: str
    detail: str


class Preview(msgspec.Struct):
    """The blocks that would be created, what is lost, and how many requests they take."""

    blocks: list[dict[str, Any]]
    losses: list[LossView]
    requests: int


async def convert_content(request: web.Request) -> web.Response:
    """Convert in a thread: a long document must not hold up other callers."""
    body = await parse_body(request, ConvertBody)
    return answer(await asyncio.to_thread(_preview, body.content))


def _preview(content: convert.Content) -> Preview:
    prepared = convert.prepare(content)
    return Preview(
        blocks=prepared.blocks,
        losses=[LossView(loss.kind, loss.detail) for loss in prepared.losses],
        requests=len(chunks.plan(prepared.blocks)),
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/convert",
        handler=convert_content,
        scope="clip",
        summary="Preview what content becomes as Notion blocks",
        body=ConvertBody,
        answers={200: Preview},
        errors=(ContentInvalid, FormatUnsupported),
    ),
)
