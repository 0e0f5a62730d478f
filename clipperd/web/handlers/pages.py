"""Routes of the page index and of database schemas, answered from the local store."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from aiohttp import web

from clipperd.errors import CursorInvalid, NotFound, NotSignedIn, StorageFull, WorkspaceMismatch
from clipperd.pages.entries import DataSource, Entry, IndexStatus, Listing
from clipperd.web.keys import PAGES
from clipperd.web.params import id_of, scope_of
from clipperd.web.routes import NOTION_ERRORS, Route, answer, parse_query


class PagesQuery(msgspec.Struct, forbid_unknown_fields=True):
    """A view with its cursor, or ``q`` to search; ``remote`` also searches Notion."""

    view: Literal["recent", "used", "favorites", "all"] = "recent"
    kind: Literal["", "page", "database", "data_source"] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    cursor: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    q: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    remote: bool = False


class PageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``verified`` asks Notion about the page (1 call) and adds ``access``."""

    freshness: Literal["cached", "verified"] = "cached"


class Refreshed(msgspec.Struct):
    """The index after a refresh, and the Notion calls it took."""

    index: IndexStatus
    notion_calls: int


async def list_pages(request: web.Request) -> web.StreamResponse:
    """List a view, or search."""
    query = parse_query(request, PagesQuery)
    scope, pages = await scope_of(request), request.app[PAGES]
    if query.q is None:
        return answer(await pages.list(scope, query.view, query.kind, query.limit, query.cursor))
    if query.cursor is not None:
        raise CursorInvalid("A search has no cursor: it returns the best matches in one page.")
    return answer(await pages.search(scope, query.q, query.kind, query.limit, remote=query.remote))


async def get_page(request: web.Request) -> web.StreamResponse:
    """Show one page."""
    query = parse_query(request, PageQuery)
    page_id, scope = id_of(request), await scope_of(request)
    return answer(await request.app[PAGES].get(scope, page_id, query.freshness))


async def mark_favorite(request: web.Request) -> web.StreamResponse:
    """Mark the page as a favorite."""
    return await _set_favorite(request, on=True)


async def unmark_favorite(request: web.Request) -> web.StreamResponse:
    """Remove the mark."""
    return await _set_favorite(request, on=False)


async def _set_favorite(request: web.Request, *, on: bool) -> web.StreamResponse:
    page_id, scope = id_of(request), await scope_of(request)
    return answer(await request.app[PAGES].set_favorite(scope, page_id, on=on))


async def refresh_pages(request: web.Request) -> web.StreamResponse:
    """Update the index now, and look again at favorites and used pages that were gone."""
    scope, pages = await scope_of(request), request.app[PAGES]
    calls = await pages.refresh(scope)
    calls += await pages.find_lost(scope, again_s=0.0)
    index = await pages.index_status(scope)
    if not index.complete:
        pages.poke(scope)  # read the rest in the background
    return answer(Refreshed(index, calls))


async def get_data_source(request: web.Request) -> web.StreamResponse:
    """Show the schema of a data source."""
    source_id, scope = id_of(request), await scope_of(request)
    return answer(await request.app[PAGES].data_source(scope, source_id))


_ACCOUNT = (NotSignedIn, WorkspaceMismatch)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/pages",
        list_pages,
        "read",
        "Pages from the local store: a view, or a search with q",
        query=PagesQuery,
        answers={200: Listing},
        errors=(CursorInvalid, *_ACCOUNT),
    ),
    Route(
        "GET",
        "/v1/pages/{id}",
        get_page,
        "read",
        "One page",
        query=PageQuery,
        answers={200: Entry},
        errors=(NotFound, StorageFull, *_ACCOUNT, *NOTION_ERRORS),
    ),
    *(
        Route(
            method,
            "/v1/pages/{id}/favorite",
            handler,
            "clip",
            summary,
            answers={200: Entry},
            errors=(NotFound, *_ACCOUNT),
        )
        for method, handler, summary in (
            ("PUT", mark_favorite, "Mark as a favorite"),
            ("DELETE", unmark_favorite, "Remove the favorite mark"),
        )
    ),
    Route(
        "POST",
        "/v1/pages/refresh",
        refresh_pages,
        "read",
        "Update the index from Notion",
        answers={200: Refreshed},
        errors=(*_ACCOUNT, *NOTION_ERRORS),
    ),
    Route(
        "GET",
        "/v1/data_sources/{id}",
        get_data_source,
        "read",
        "The schema of a database; also offline once it was read",
        answers={200: DataSource},
        errors=(NotFound, StorageFull, *_ACCOUNT, *NOTION_ERRORS),
    ),
)
