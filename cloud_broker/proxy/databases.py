"""Translates databases for clients before 2025-09-03, for which a database is a table. Pure.

Since that version a database holds data sources, which have the schema and the rows
(https://developers.notion.com/docs/upgrade-guide-2025-09-03). A database with one source has an
equivalent old form; one with several has none, and Notion refuses it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_broker.proxy.errors import InvalidRequest
from cloud_broker.proxy.routes import parse_uuid

FIRST_WITH_SOURCES = "2025-09-03"

# Database and source both have these fields; the old form takes the database's.
_OF_THE_DATABASE = (
    "title",
    "description",
    "icon",
    "cover",
    "is_inline",
    "created_time",
    "in_trash",
    "url",
    "public_url",
)


def only_source(database: Mapping[str, Any], database_id: str) -> str:
    """Return the id of a database's one data source. Raises InvalidRequest naming several."""
    sources = database.get("data_sources")
    ids = [s.get("id") for s in sources if isinstance(s, dict)] if sources else []
    good = [i for i in ids if isinstance(i, str) and parse_uuid(i)]
    if len(good) == 1:
        return good[0]
    if not good:
        raise InvalidRequest("The database has no data source that this connection can read.")
    raise InvalidRequest(
        "Databases with multiple data sources are not supported in this version. Name one of "
        f"them, with Notion-Version {FIRST_WITH_SOURCES} or later.",
        broker_code="multiple_data_sources",
        data={
            "error_type": "multiple_data_sources_for_database",
            "database_id": database_id,
            "child_data_source_ids": good,
            "minimum_api_version": FIRST_WITH_SOURCES,
        },
    )


def parent_database(body: Mapping[str, Any] | None) -> str | None:
    """Return the parent database of a new page, unless the body names a data source."""
    parent = (body or {}).get("parent")
    if not isinstance(parent, dict) or "data_source_id" in parent:
        return None
    given = parent.get("database_id")
    return parse_uuid(given) if isinstance(given, str) else None


def under_source(body: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the ``body`` of a new page with the data source as its parent."""
    return {**body, "parent": {"type": "data_source_id", "data_source_id": source}}


def joined(database: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a database in the old form, from the new form and its only source."""
    shown = {key: database[key] for key in _OF_THE_DATABASE if key in database}
    table = {**source, **shown, "object": "database", "id": database.get("id")}
    table["parent"] = database.get("parent")
    table.pop("database_parent", None)
    return table


def as_table(source: dict[str, Any]) -> None:
    """Turn a data source into its database in the old form, in place.

    A partial source (no parent) stays unchanged: its database is unknown.
    """
    parent = source.get("parent")
    if not isinstance(parent, dict) or not isinstance(parent.get("database_id"), str):
        return
    source["object"] = "database"
    source["id"] = parent["database_id"]
    source["parent"] = source.pop("database_parent", None)


def as_table_parent(parent: dict[str, Any]) -> None:
    """Name a row's database, not its source, as its parent, in place."""
    if parent.get("type") == "data_source_id" and isinstance(parent.get("database_id"), str):
        parent["type"] = "database_id"
        parent.pop("data_source_id", None)


def each_once(results: list[Any]) -> list[Any]:
    """Drop further sources of a database that the list already has."""
    seen: set[str] = set()
    kept = []
    for item in results:
        is_table = isinstance(item, dict) and item.get("object") == "database"
        if is_table and str(item.get("id")) in seen:
            continue
        if is_table:
            seen.add(str(item.get("id")))
        kept.append(item)
    return kept
