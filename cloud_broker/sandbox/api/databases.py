"""Implements the endpoints of databases and data sources, with filters and sorts.

Since 2025-09-03 a database is a container and the data source is the table
(https://developers.notion.com/docs/upgrade-guide-2025-09-03).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloud_broker.sandbox.api.call import (
    Answer,
    Call,
    Endpoint,
    bad_cursor,
    listed,
    page_size,
)
from cloud_broker.sandbox.clock import minute
from cloud_broker.sandbox.errors import not_found, validation
from cloud_broker.sandbox.model import Database, DataSource, Json, Page
from cloud_broker.sandbox.shapes.checks import (
    fail,
    get,
    only,
    want_array,
    want_bool,
    want_object,
    want_one_of,
    want_string,
)
from cloud_broker.sandbox.shapes.rich_text import plain_text

STAMPS = ("created_time", "last_edited_time")
Test = Callable[[Page], bool]


def retrieve_database(call: Call) -> Answer:
    """GET /databases/{database_id}."""
    node = call.find(call.id("database_id"), "database")
    if not isinstance(node, Database):
        raise not_found(node.id, call.integration, "database")
    return Answer(call.render.database(node))


def retrieve(call: Call) -> Answer:
    """GET /data_sources/{data_source_id}."""
    return Answer(call.render.data_source(_source(call)))


def query(call: Call) -> Answer:
    """POST /data_sources/{data_source_id}/query: rows by filter, in the order of the sorts."""
    call.id("data_source_id")
    body = call.object()
    only(
        body,
        "body",
        {
            "filter",
            "sorts",
            "start_cursor",
            "page_size",
            "in_trash",
            "is_archived",
            "archived",
            "result_type",
        },
    )
    size = page_size(body.get("page_size"), "body.page_size")
    in_trash = want_bool(body.get("in_trash", False), "body.in_trash")
    source = _source(call)
    if call.world.in_trash(source):
        raise not_found(source.id, call.integration, "data source")
    test = _read_filter(body.get("filter"), "body.filter", source, 0)
    rows = [call.world.nodes[each] for each in source.children]
    found = [row for row in rows if isinstance(row, Page) and row.trashed == in_trash and test(row)]
    found.reverse()  # newest first by default
    for key, descending in reversed(_read_sorts(body.get("sorts", []), source)):
        found.sort(key=key, reverse=descending)
    first = 0
    if body.get("start_cursor") is not None:
        cursor = want_string(body["start_cursor"], "body.start_cursor")
        first = next((i for i, row in enumerate(found) if row.id == cursor), -1)
        if first < 0:
            raise bad_cursor(cursor)
    following = found[first + size].id if first + size < len(found) else None
    shown = [call.render.page(row) for row in found[first : first + size]]
    answer = listed("page_or_data_source", shown, following)
    answer["request_status"] = {"type": "complete"}
    return Answer(answer)


def _source(call: Call) -> DataSource:
    source_id = call.id("data_source_id")
    node = call.find(source_id, "data source")
    if not isinstance(node, DataSource):
        raise not_found(source_id, call.integration, "data source")
    return node


def _read_sorts(value: Any, source: DataSource) -> list[tuple[Callable[[Page], Any], bool]]:
    sorts: list[tuple[Callable[[Page], Any], bool]] = []
    for i, each in enumerate(want_array(value, "body.sorts")):
        path = f"body.sorts[{i}]"
        item = want_object(each, path)
        only(item, path, {"property", "timestamp", "direction"})
        way = want_one_of(
            item.get("direction", "ascending"), f"{path}.direction", ("ascending", "descending")
        )
        if "timestamp" in item:
            stamp = want_one_of(item["timestamp"], f"{path}.timestamp", STAMPS)
            sorts.append((_by_stamp(stamp), way == "descending"))
        else:
            name = _property(get(item, "property"), f"{path}.property", source)
            sorts.append((_by_value(name), way == "descending"))
    return sorts


def _by_stamp(stamp: str) -> Callable[[Page], float]:
    def key(row: Page) -> float:
        return row.created_at if stamp == "created_time" else row.edited_at

    return key


def _by_value(name: str) -> Callable[[Page], tuple[bool, Any]]:
    def key(row: Page) -> tuple[bool, Any]:
        value = _comparable(row, name)
        return (value is None, "" if value is None else value)

    return key


def _property(value: Any, path: str, source: DataSource) -> str:
    name = want_string(value, path)
    for known, config in source.schema.items():
        if name in (known, config["id"]):
            return known
    raise validation(f"Could not find property with name or id: {name}")


def _comparable(row: Page, name: str) -> Any:
    """Return a row's value in a comparable form: text, number, date, names."""
    value = row.properties[name]
    kind = value["type"]
    said = value[kind]
    if kind in ("title", "rich_text"):
        return plain_text(said)
    if kind in ("select", "status"):
        return said["name"] if said else None
    if kind == "multi_select":
        return [option["name"] for option in said]
    if kind == "date":
        return said["start"] if said else None
    if kind in ("people", "relation"):
        return [each["id"] for each in said]
    if kind in STAMPS:
        return minute(row.created_at if kind == "created_time" else row.edited_at)
    return said if said is None or isinstance(said, str | int | float) else str(said)


def _read_filter(value: Any, path: str, source: DataSource, depth: int) -> Test:
    if value is None:
        return lambda _: True
    item = want_object(value, path)
    for word, joined in (("and", all), ("or", any)):
        if word in item:
            if depth >= 2:
                fail(f"{path}.{word}", "not present", item[word])
            parts = [
                _read_filter(each, f"{path}.{word}[{i}]", source, depth + 1)
                for i, each in enumerate(want_array(item[word], f"{path}.{word}"))
            ]
            return _join(joined, parts)
    if "timestamp" in item:
        stamp = want_one_of(item["timestamp"], f"{path}.timestamp", STAMPS)
        condition = want_object(get(item, stamp), f"{path}.{stamp}")
        return _compare(condition, f"{path}.{stamp}", _stamp_text(stamp))
    name = _property(get(item, "property"), f"{path}.property", source)
    kind = next((key for key in item if key not in ("property", "type")), "")
    wanted = source.schema[name]["type"]
    if kind != wanted:
        fail(f"{path}.{wanted}", "defined", get(item, wanted))
    condition = want_object(item[kind], f"{path}.{kind}")
    return _compare(condition, f"{path}.{kind}", lambda row: _comparable(row, name))


def _stamp_text(stamp: str) -> Callable[[Page], str]:
    def text(row: Page) -> str:
        return minute(row.created_at if stamp == "created_time" else row.edited_at)

    return text


def _join(joined: Callable[[list[bool]], bool], parts: list[Test]) -> Test:
    return lambda row: joined([part(row) for part in parts])


def _compare(condition: Json, path: str, value_of: Callable[[Page], Any]) -> Test:
    if len(condition) != 1:
        raise validation(f"body failed validation: {path} should hold exactly one condition.")
    ((how, wanted),) = condition.items()
    want_one_of(how, path, tuple(CONDITIONS))
    decide = CONDITIONS[how]

    def test(row: Page) -> bool:
        try:
            return decide(value_of(row), wanted)
        except TypeError:
            fail(f"{path}.{how}", "comparable with the property's values", wanted)

    return test


def _day(value: Any, wanted: Any) -> tuple[str, str]:
    """Cut both to the shorter form, so that a date equals any time of that day."""
    one, other = str(value), str(wanted).replace("+00:00", "Z")
    if len(one) <= 10 or len(other) <= 10:
        return one[:10], other[:10]
    return one[:19], other[:19]


def _ordered(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: value is not None and test(*_day(value, wanted))


CONDITIONS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda value, wanted: value == wanted,
    "does_not_equal": lambda value, wanted: value != wanted,
    "contains": lambda value, wanted: value is not None and wanted in value,
    "does_not_contain": lambda value, wanted: value is None or wanted not in value,
    "starts_with": lambda value, wanted: str(value or "").startswith(str(wanted)),
    "ends_with": lambda value, wanted: str(value or "").endswith(str(wanted)),
    "is_empty": lambda value, wanted: (value in (None, "", [])) == bool(wanted),
    "is_not_empty": lambda value, wanted: (value not in (None, "", [])) == bool(wanted),
    "greater_than": lambda value, wanted: value is not None and value > wanted,
    "less_than": lambda value, wanted: value is not None and value < wanted,
    "greater_than_or_equal_to": lambda value, wanted: value is not None and value >= wanted,
    "less_than_or_equal_to": lambda value, wanted: value is not None and value <= wanted,
    "before": _ordered(lambda one, other: one < other),
    "after": _ordered(lambda one, other: one > other),
    "on_or_before": _ordered(lambda one, other: one <= other),
    "on_or_after": _ordered(lambda one, other: one >= other),
}
ENDPOINTS = (
    Endpoint("GET", "databases/{database_id}", retrieve_database),
    Endpoint("GET", "data_sources/{data_source_id}", retrieve),
    Endpoint("POST", "data_sources/{data_source_id}/query", query),
)
