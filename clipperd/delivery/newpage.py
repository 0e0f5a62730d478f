"""Find the parent of a page to create, and databases among the pages that clips are sent to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from clipperd.errors import ReadFailed
from clipperd.model import Scope
from clipperd.notion.port import Call, Notion
from clipperd.outbox import lanes
from clipperd.outbox.outbox import Outbox


class ParentGone(Exception):
    """The parent does not exist or is not shared; the user must choose another."""


class Parent(msgspec.Struct, frozen=True):
    """Notion's parent object, the name of its title property, and the calls that this took."""

    body: Mapping[str, str]
    title_property: str
    reads: int


class NewPages:
    """Looks parents up; caches each data source's title property until the daemon stops."""

    def __init__(self, outbox: Outbox, notion: Notion) -> None:
        """``outbox`` knows the pages created under a ref, ``notion`` the schemas."""
        self._outbox = outbox
        self._notion = notion
        self._titles: dict[str, str] = {}

    async def parent(self, scope: Scope, new_page: Mapping[str, Any]) -> Parent | None:
        """Return the parent, or None while the parent page is still to be created.

        Raises ParentGone, also if that page was given up, and ReadFailed if the schema cannot be
        read now.
        """
        wanted = new_page["parent"]
        if "page_ref" in wanted:
            ref = str(wanted["page_ref"])
            page, coming = await self._outbox.read(lanes.announced_page, scope, ref)
            if page is None and not coming:
                raise ParentGone
            return None if page is None else Parent({"page_id": page}, "title", 0)
        if "page_id" in wanted:
            return Parent({"page_id": str(wanted["page_id"])}, "title", 0)
        if "data_source_id" in wanted:
            source, reads = str(wanted["data_source_id"]), 0
        else:
            source, reads = await self._only_source(scope, str(wanted["database_id"])), 1
        body = {"data_source_id": source}
        if source in self._titles:
            return Parent(body, self._titles[source], reads)
        schema = await self._read(scope, f"data_sources/{source}")
        for name, value in (schema.get("properties") or {}).items():
            if isinstance(value, dict) and value.get("type") == "title":
                self._titles[source] = str(name)
                return Parent(body, str(name), reads + 1)
        raise ParentGone

    async def container(self, scope: Scope, thing_id: str) -> Mapping[str, str] | None:
        """Return the id as a row's parent if it is a database or data source, not a page.

        Raises ReadFailed.
        """
        for kind, noun in (("database_id", "databases"), ("data_source_id", "data_sources")):
            try:
                await self._read(scope, f"{noun}/{thing_id}")
            except ParentGone:
                continue
            return {kind: thing_id}
        return None

    async def _only_source(self, scope: Scope, database: str) -> str:
        sources = (await self._read(scope, f"databases/{database}")).get("data_sources")
        if not sources:
            raise ParentGone
        return str(sources[0]["id"])

    async def _read(self, scope: Scope, path: str) -> Mapping[str, Any]:
        reply = await self._notion.send(scope, Call("GET", path))
        if reply.status in (400, 403, 404):
            raise ParentGone
        if not reply.ok or not isinstance(reply.body, dict):
            raise ReadFailed(reply)
        return reply.body
