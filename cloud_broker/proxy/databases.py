"""Databases as clients before 2025-09-03 know them: tables, not containers of tables. Pure.

Since that version a database holds data sources, which have the schema and the rows
(https://developers.notion.com/docs/upgrade-guide-2025-09-03). A database with one source can be
told in the old form without loss; one with several cannot, which Notion refuses likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_broker.proxy.errors import InvalidRequest
from cloud_broker.proxy.routes import parse_uuid

FIRST_WITH_SOURCES = "2025-09-03"

# Of a database and its source, both of which have these, the database's is the one to show.
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
        raise InvalidRequest("The database has no data source that this connection can see.")
    raise InvalidRequest(
        "Databases with multiple data sources are not supported here: name one of them, with "
        f"Notion-Version {FIRST_WITH_SOURCES} or later.",
        broker_code="multiple_data_sources",
        data={
            "error_type": "multiple_data_sources_for_database",
            "database_id": database_id,
            "child_data_source_ids": good,
            "minimum_api_version": FIRST_WITH_SOURCES,
        },
    )


def parent_database(body: Mapping[str, Any] | None) -> str | None:
    """Return the database under which a new page is asked for, unless its source is named."""
    parent = (body or {}).get("parent")
    if not isinstance(parent, dict) or "data_source_id" in parent:
        return None
    given = parent.get("database_id")
    return parse_uuid(given) if isinstance(given, str) else None


def under_source(body: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return ``body`` of a new page with the data source as its parent."""
    return {**body, "parent": {"type": "data_source_id", "data_source_id": source}}


def joined(database: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a database in the old form, of the new one and its only source."""
    shown = {key: database[key] for key in _OF_THE_DATABASE if key in database}
    table = {**source, **shown, "object": "database", "id": database.get("id")}
    table["parent"] = database.get("parent")
    table.pop("database_parent", None)
    return table


def as_table(source: dict[str, Any]) -> None:
    """Turn a data source into its database in the old form, in place.

    One of which Notion shows only a part (no parent) stays as it is: its database is not known.
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
    """Leave out further sources of a database that is in the list already."""
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
