"""``POST /v1/convert``: previews content as Notion blocks. Sends and stores nothing."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from clipperd.content import chunks, convert
from clipperd.errors import ContentInvalid, FormatUnsupported
from clipperd.model import Block
from clipperd.web.routes import Route, answer, parse_body


class ConvertBody(msgspec.Struct, forbid_unknown_fields=True):
    """Content as ``POST /v1/clips`` accepts it."""

    content: convert.Content


class LossView(msgspec.Struct):
    """One element of the content that Notion cannot hold."""

    kind: str
    detail: str


class Preview(msgspec.Struct):
    """The blocks, the losses of the conversion, and the number of requests to Notion."""

    blocks: list[Block]
    losses: list[LossView]
    requests: int


async def convert_content(request: web.Request) -> web.Response:
    """Convert in a thread, because a long document would block other callers."""
    body = await parse_body(request, ConvertBody)
    return answer(await asyncio.to_thread(_preview, body.content))


def _preview(content: convert.Content) -> Preview:
    prepared = convert.prepare(content)
    return Preview(
        blocks=prepared.blocks,
        losses=[LossView(loss.kind, loss.detail) for loss in prepared.losses],
        requests=len(chunks.plan(prepared.blocks).chunks),
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/convert",
        handler=convert_content,
        scope="clip",
        summary="Preview content as Notion blocks",
        body=ConvertBody,
        answers={200: Preview},
        errors=(ContentInvalid, FormatUnsupported),
    ),
)
