"""Lists the calls that clients may make to Notion. The broker refuses every other call.

The first nine rows and the limits per minute come from the seed (section 3.1), the other rows from
the contract (section 5). ``match`` accepts only characters without a special meaning in a URL. The
upstream address is built from the row's words and the parsed ids, never from the client's text, so
``..%2f``, ``//`` and similar tricks have no effect.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from cloud_broker.proxy.errors import InvalidRequest, NoSuchRoute

Kind = Literal["read", "write"]
Creates = Literal["children", "page", "file_upload", "none"]
Query = tuple[tuple[str, str], ...]

_PLAIN_PATH = re.compile(r"\A[A-Za-z0-9_/-]{1,300}\Z", re.ASCII)
_UUID = re.compile(r"\A[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\Z", re.ASCII | re.IGNORECASE)
_QUERY_VALUE = re.compile(r"\A[\x21-\x7e]{1,512}\Z", re.ASCII)
_WHOLE = re.compile(r"\A[0-9]{1,9}\Z", re.ASCII)
MAX_QUERY_PAIRS = 100
MAX_PAGE_SIZE = 100  # the seed's pagination cap, and Notion's

_PAGED = frozenset({"start_cursor", "page_size"})
_QUERY_BODY = frozenset(
    {"filter", "sorts", "start_cursor", "page_size", "in_trash", "archived", "result_type"}
)


class Route(Struct, frozen=True):
    """One row: a method and a path of Notion's API after ``/v1/``.

    ``words`` that begin with ``:`` are ids (UUIDs), named for Notion's messages. ``query`` and
    ``body`` list the allowed keys (``body`` None: no body). ``per_minute`` is the limit per user.
    ``creates`` names the kind of the new ids that a stored outcome keeps.
    """

    name: str
    method: str
    words: tuple[str, ...]
    kind: Kind
    per_minute: int
    query: frozenset[str] = frozenset()
    body: frozenset[str] | None = None
    creates: Creates = "none"
    streams: bool = False  # a multipart body is streamed, not parsed

    def path(self, ids: Sequence[str]) -> str:
        """Return Notion's path with ``ids`` filled in."""
        rest = iter(ids)
        return "/v1/" + "/".join(next(rest) if w.startswith(":") else w for w in self.words)


def _row(
    name: str,
    line: str,
    kind: Kind,
    per_minute: int,
    *,
    query: frozenset[str] = frozenset(),
    body: frozenset[str] | None = None,
    creates: Creates = "none",
    streams: bool = False,
) -> Route:
    method, _, path = line.partition(" ")
    words = tuple(path.split("/"))
    return Route(name, method, words, kind, per_minute, query, body, creates, streams)


_PROPERTIES = frozenset({"filter_properties"})

ROUTES: tuple[Route, ...] = (
    _row(
        "search",
        "POST search",
        "read",
        30,
        body=frozenset({"query", "filter", "sort", "start_cursor", "page_size"}),
    ),
    _row("databases.get", "GET databases/:database_id", "read", 30),
    _row(
        "databases.query",
        "POST databases/:database_id/query",
        "read",
        30,
        query=_PROPERTIES,
        body=_QUERY_BODY,
    ),
    _row("pages.get", "GET pages/:page_id", "read", 30, query=_PROPERTIES),
    _row(
        "pages.create",
        "POST pages",
        "write",
        20,
        body=frozenset(
            [
                "parent",
                "properties",
                "icon",
                "cover",
                "children",
                "content",
                "markdown",
                "template",
                "position",
            ]
        ),
        creates="page",
    ),
    _row(
        "pages.update",
        "PATCH pages/:page_id",
        "write",
        20,
        body=frozenset(["properties", "icon", "cover", "in_trash", "archived", "is_locked"]),
    ),
    _row("blocks.children.list", "GET blocks/:block_id/children", "read", 30, query=_PAGED),
    _row(
        "blocks.children.append",
        "PATCH blocks/:block_id/children",
        "write",
        20,
        body=frozenset({"children", "position", "after"}),
        creates="children",
    ),
    _row("users.me", "GET users/me", "read", 10),
    _row("blocks.get", "GET blocks/:block_id", "read", 30),
    _row(
        "blocks.update",
        "PATCH blocks/:block_id",
        "write",
        20,
        body=frozenset({"in_trash", "archived"}),
    ),
    _row("blocks.delete", "DELETE blocks/:block_id", "write", 20),
    _row("data_sources.get", "GET data_sources/:data_source_id", "read", 30),
    _row(
        "data_sources.query",
        "POST data_sources/:data_source_id/query",
        "read",
        30,
        query=_PROPERTIES,
        body=_QUERY_BODY,
    ),
    _row(
        "file_uploads.create",
        "POST file_uploads",
        "write",
        20,
        body=frozenset(["mode", "filename", "content_type", "number_of_parts", "external_url"]),
        creates="file_upload",
    ),
    _row("file_uploads.get", "GET file_uploads/:file_upload_id", "read", 30),
    _row("file_uploads.send", "POST file_uploads/:file_upload_id/send", "write", 20, streams=True),
    _row(
        "file_uploads.complete",
        "POST file_uploads/:file_upload_id/complete",
        "write",
        20,
        body=frozenset(),
    ),
)
BY_NAME: Mapping[str, Route] = {route.name: route for route in ROUTES}
_ROWS: dict[tuple[str, int], list[Route]] = defaultdict(list)  # by method and number of words
for _route in ROUTES:
    _ROWS[_route.method, len(_route.words)].append(_route)


def match(
    method: str, path: str, query: Sequence[tuple[str, str]]
) -> tuple[Route, tuple[str, ...], Query]:
    """Return the row of ``path``, its ids (dashed, lower case) and the query pairs to send.

    ``path`` is the part of the raw request line after ``/api/notion/proxy/``; ``query`` holds the
    decoded pairs. Raises NoSuchRoute, or InvalidRequest for a bad id or query in a row that exists.
    """
    if not _PLAIN_PATH.match(path):
        raise NoSuchRoute
    words = tuple(path.removeprefix("v1/").split("/"))
    for route in _ROWS.get((method, len(words)), ()):
        if _fits(route.words, words):
            ids = tuple(_parse_id(word, name) for name, word in _ids(route.words, words))
            return route, ids, _parse_query(route, query)
    raise NoSuchRoute


def parse_uuid(text: str) -> str | None:
    """Return the id dashed and in lower case, or None if ``text`` is no UUID."""
    if not _UUID.match(text):
        return None
    plain = text.replace("-", "").lower()
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"


def _fits(template: Sequence[str], words: Sequence[str]) -> bool:
    return all(
        bool(word) if part.startswith(":") else part == word
        for part, word in zip(template, words, strict=True)
    )


def _ids(template: Sequence[str], words: Sequence[str]) -> list[tuple[str, str]]:
    pairs = zip(template, words, strict=True)
    return [(part[1:], word) for part, word in pairs if part.startswith(":")]


def _parse_id(word: str, name: str) -> str:
    found = parse_uuid(word)
    if found is None:
        shown = word if len(word) <= 55 else word[:55] + "..."
        raise InvalidRequest(
            f'path failed validation: path.{name} should be a valid uuid, instead was `"{shown}"`.'
        )
    return found


def _parse_query(route: Route, query: Sequence[tuple[str, str]]) -> Query:
    if len(query) > MAX_QUERY_PAIRS:
        raise InvalidRequest(f"The query has more than {MAX_QUERY_PAIRS} parameters.")
    pairs: list[tuple[str, str]] = []
    seen: set[str] = set()
    for key, value in query:
        if key not in route.query:
            raise InvalidRequest("The query has a parameter that this endpoint does not take.")
        if key in seen and key != "filter_properties":
            raise InvalidRequest(f"query.{key} should be given once.")
        if not _QUERY_VALUE.match(value):
            raise InvalidRequest(f"query.{key} should be 1 to 512 printable ASCII characters.")
        if key == "page_size":
            value = _page_size(value)  # noqa: PLW2901 # capped
        seen.add(key)
        pairs.append((key, value))
    return tuple(pairs)


def _page_size(value: str) -> str:
    if not _WHOLE.match(value):
        raise InvalidRequest("query.page_size should be a number or `undefined`.")
    return str(min(int(value), MAX_PAGE_SIZE))
