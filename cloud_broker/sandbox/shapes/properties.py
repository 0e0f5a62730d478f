"""Parses property values of pages and rows from request form into response form.

https://developers.notion.com/reference/page-property-values; limits: 100 options, relations or
people, 200 characters of email or phone, 2000 of a URL (/reference/request-limits).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloud_broker.sandbox.errors import validation
from cloud_broker.sandbox.model import Json
from cloud_broker.sandbox.shapes.checks import (
    fail,
    get,
    only,
    want_array,
    want_bool,
    want_id,
    want_number,
    want_object,
    want_string,
    want_url,
)
from cloud_broker.sandbox.shapes.rich_text import Reading, read_rich_text

TITLE_ONLY: dict[str, Json] = {
    "title": {"id": "title", "name": "title", "type": "title", "title": {}}
}
COMPUTED = frozenset({"created_time", "last_edited_time", "created_by", "last_edited_by"})
MOST_CONTACT = 200
_EMPTY: dict[str, Any] = {
    "title": [],
    "rich_text": [],
    "multi_select": [],
    "people": [],
    "relation": [],
    "files": [],
    "checkbox": False,
}


def read_properties(
    value: Any, path: str, schema: dict[str, Json], reading: Reading
) -> dict[str, Json]:
    """Parse the values, keyed by name or id. Raises NotionError."""
    given = want_object(value, path)
    by_id = {config["id"]: name for name, config in schema.items()}
    out: dict[str, Json] = {}
    for key, said in given.items():
        name = key if key in schema else by_id.get(key)
        if name is None:
            raise validation(f"{key} is not a property that exists.")
        out[name] = _read_value(said, f"{path}.{key}", schema[name], reading)
    return out


def empty_properties(schema: dict[str, Json]) -> dict[str, Json]:
    """Return the values of an empty row."""
    return {name: _shown(config, _EMPTY.get(config["type"])) for name, config in schema.items()}


def _shown(config: Json, value: Any) -> Json:
    kind = config["type"]
    return {"id": config["id"], "type": kind, kind: list(value) if value == [] else value}


def _read_value(said: Any, path: str, config: Json, reading: Reading) -> Json:
    kind = config["type"]
    if isinstance(said, list) and kind == "title":
        return _shown(config, read_rich_text(said, path, reading))
    item = want_object(said, path)
    if kind in COMPUTED or kind not in _READERS:
        raise validation(f"{config['name']} cannot be set: its type is {kind}.")
    if kind not in item:
        raise validation(f"{config['name']} is expected to be {kind}.")
    only(item, path, {"id", "type", "name", kind})
    value = item[kind]
    if value is None and kind not in ("title", "rich_text"):
        return _shown(config, _EMPTY.get(kind))
    return _shown(config, _READERS[kind](value, f"{path}.{kind}", config, reading))


def _text(value: Any, path: str, _: Json, reading: Reading) -> list[Json]:
    return read_rich_text(value, path, reading)


def _number(value: Any, path: str, _: Json, __: Reading) -> float:
    return want_number(value, path)


def _checkbox(value: Any, path: str, _: Json, __: Reading) -> bool:
    return want_bool(value, path)


def _url(value: Any, path: str, _: Json, __: Reading) -> str:
    return want_url(value, path)


def _contact(value: Any, path: str, _: Json, __: Reading) -> str:
    return want_string(value, path, MOST_CONTACT)


def _select(value: Any, path: str, config: Json, _: Reading) -> Json:
    """Return an option; an unknown one is created for a select and refused for a status."""
    item = want_object(value, path)
    kind = config["type"]
    options: list[Json] = config["select" if kind == "select" else kind]["options"]
    wanted = item.get("name", item.get("id"))
    for option in options:
        if wanted in (option["name"], option["id"]):
            return option
    name = want_string(get(item, "name"), f"{path}.name", 100)
    if kind == "status":
        raise validation(f'Invalid status option. Status option "{name}" does not exist')
    made = {"id": f"opt-{len(options) + 1}", "name": name, "color": "default"}
    options.append(made)
    return made


def _multi_select(value: Any, path: str, config: Json, reading: Reading) -> list[Json]:
    items = want_array(value, path)
    return [_select(item, f"{path}[{i}]", config, reading) for i, item in enumerate(items)]


def _date(value: Any, path: str, _: Json, __: Reading) -> Json:
    item = want_object(value, path)
    only(item, path, {"start", "end", "time_zone"})
    start = want_string(get(item, "start"), f"{path}.start")
    if len(start) < 10 or start[4:5] != "-":
        fail(f"{path}.start", "a valid ISO 8601 date string", start)
    return {"start": start, "end": item.get("end"), "time_zone": item.get("time_zone")}


def _people(value: Any, path: str, _: Json, __: Reading) -> list[Json]:
    items = [want_object(item, f"{path}[{i}]") for i, item in enumerate(want_array(value, path))]
    ids = [want_id(get(item, "id"), f"{path}[{i}].id") for i, item in enumerate(items)]
    return [{"object": "user", "id": each} for each in ids]


def _relation(value: Any, path: str, _: Json, __: Reading) -> list[Json]:
    items = [want_object(item, f"{path}[{i}]") for i, item in enumerate(want_array(value, path))]
    return [{"id": want_id(get(item, "id"), f"{path}[{i}].id")} for i, item in enumerate(items)]


def _files(value: Any, path: str, _: Json, reading: Reading) -> list[Json]:
    out: list[Json] = []
    for i, each in enumerate(want_array(value, path)):
        place = f"{path}[{i}]"
        item = want_object(each, place)
        name = want_string(item.get("name", ""), f"{place}.name", 100)
        if "file_upload" in item:
            found = want_id(get(want_object(item["file_upload"], place), "id"), f"{place}.id")
            reading.upload(f"{place}.file_upload.id", found)
            out.append({"name": name, "type": "file_upload", "file_upload": {"id": found}})
        else:
            detail = want_object(get(item, "external"), f"{place}.external")
            url = want_url(get(detail, "url"), f"{place}.external.url")
            out.append({"name": name, "type": "external", "external": {"url": url}})
    return out


_READERS: dict[str, Callable[[Any, str, Json, Reading], Any]] = {
    "title": _text,
    "rich_text": _text,
    "number": _number,
    "checkbox": _checkbox,
    "url": _url,
    "email": _contact,
    "phone_number": _contact,
    "select": _select,
    "status": _select,
    "multi_select": _multi_select,
    "date": _date,
    "people": _people,
    "relation": _relation,
    "files": _files,
}
