"""Routes of outlines: of one page, or of several with a result or error for each."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from clipperd.errors import (
    ClipperdError,
    NotSignedIn,
    OutlineNotCached,
    PageGone,
    PageTrashed,
    WorkspaceMismatch,
)
from clipperd.model import Scope
from clipperd.outline.outlines import Freshness, Outline, Outlines
from clipperd.web.keys import OUTLINES
from clipperd.web.params import id_of, read_id, scope_of
from clipperd.web.routes import NOTION_ERRORS, Route, answer, parse_body, parse_query

_PARALLEL_READS = 4  # more calls to Notion would only wait at the broker


class OutlineQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``cached`` never asks Notion, ``verified`` always does, ``auto`` does when needed."""

    freshness: Literal["cached", "auto", "verified"] = "auto"


class OutlinesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The pages whose outlines the client wants."""

    page_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=100)]
    freshness: Literal["cached", "auto", "verified"] = "auto"


class OutlineError(msgspec.Struct):
    """The reason for which an outline is missing."""

    code: str
    title: str
    detail: str


class OutlineResult(msgspec.Struct):
    """The outline of one page, or an error."""

    page_id: str
    outline: Outline | UnsetType = UNSET
    error: OutlineError | UnsetType = UNSET


class OutlineResults(msgspec.Struct):
    """One result for each requested page, in the order of the request."""

    results: list[OutlineResult]


async def get_outline(request: web.Request) -> web.StreamResponse:
    """Show a page's outline."""
    query = parse_query(request, OutlineQuery)
    page_id, scope = id_of(request), await scope_of(request)
    return answer(await request.app[OUTLINES].get(scope, page_id, query.freshness))


async def get_outlines(request: web.Request) -> web.StreamResponse:
    """Show several outlines."""
    body = await parse_body(request, OutlinesBody)
    page_ids = [read_id(id_, f"/page_ids/{n}") for n, id_ in enumerate(body.page_ids)]
    scope, outlines = await scope_of(request), request.app[OUTLINES]
    slots = asyncio.Semaphore(_PARALLEL_READS)

    async def one(page_id: str) -> OutlineResult:
        async with slots:
            return await _result(outlines, scope, page_id, body.freshness)

    distinct = list(dict.fromkeys(page_ids))
    results = dict(zip(distinct, await asyncio.gather(*map(one, distinct)), strict=True))
    return answer(OutlineResults([results[page_id] for page_id in page_ids]))


async def _result(
    outlines: Outlines, scope: Scope, page_id: str, freshness: Freshness
) -> OutlineResult:
    try:
        return OutlineResult(page_id, outline=await outlines.get(scope, page_id, freshness))
    except ClipperdError as error:  # one page's error must not hide the other outlines
        return OutlineResult(page_id, error=OutlineError(error.code, error.title, error.detail))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/pages/{id}/outline",
        get_outline,
        "read",
        "The headings of a page",
        query=OutlineQuery,
        answers={200: Outline},
        errors=(
            *(OutlineNotCached, PageGone, PageTrashed, NotSignedIn, WorkspaceMismatch),
            *NOTION_ERRORS,
        ),
    ),
    Route(
        "POST",
        "/v1/outlines",
        get_outlines,
        "read",
        "The headings of several pages",
        body=OutlinesBody,
        answers={200: OutlineResults},
        errors=(NotSignedIn, WorkspaceMismatch),
    ),
)
