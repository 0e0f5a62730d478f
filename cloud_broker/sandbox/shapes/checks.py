"""Provides the basic checks of all validation, with Notion's wording.

``path`` names the place (``body.children[0].paragraph``); its first word becomes the message's
prefix. Values are quoted as JSON and cut, as observed in Notion's messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Any, Final, NoReturn
from uuid import UUID

from cloud_broker.sandbox.errors import validation
from cloud_broker.sandbox.model import Json

QUOTE_CHARS = 55
# https://developers.notion.com/reference/request-limits
MOST_ITEMS = 100
MOST_URL = 2000
MOST_NUMBER = 2**53
_ID = re.compile(
    r"\A[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}\Z"
)


class Undefined:
    """A missing key, which Notion distinguishes from null."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = Undefined()


def quote(value: Any) -> str:
    """Render a value for a message: JSON, cut after some 55 characters."""
    if isinstance(value, Undefined):
        return "undefined"
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return "..."
    return text if len(text) <= QUOTE_CHARS else text[:QUOTE_CHARS] + "..."


def fail(path: str, wanted: str, value: Any) -> NoReturn:
    """Raise the 400 with the expected and the actual value of ``path``."""
    root = path.partition(".")[0].partition("[")[0]
    raise validation(
        f"{root} failed validation: {path} should be {wanted}, instead was `{quote(value)}`."
    )


def fail_one_of(places: Iterable[tuple[str, str, Any]]) -> NoReturn:
    """Raise the 400 of a union without a match: ``Fix one:`` and a line per alternative."""
    lines = [
        f"{path} should be {wanted}, instead was `{quote(value)}`."
        for path, wanted, value in places
    ]
    raise validation("body failed validation. Fix one:\n" + "\n".join(lines))


def want_object(value: Any, path: str) -> Json:
    """Return ``value`` if it is an object."""
    if isinstance(value, Undefined):
        fail(path, "defined", value)
    if not isinstance(value, dict):
        fail(path, "an object", value)
    return value


def want_array(value: Any, path: str, most: int = MOST_ITEMS, least: int = 0) -> list[Any]:
    """Return ``value`` if it is an array of at most ``most`` items."""
    if isinstance(value, Undefined):
        fail(path, "defined", value)
    if not isinstance(value, list):
        fail(path, "an array", value)
    if len(value) > most:
        fail(f"{path}.length", f"≤ `{most}`", len(value))
    if len(value) < least:
        fail(f"{path}.length", f"≥ `{least}`", len(value))
    return value


def utf16_length(text: str) -> int:
    """Count UTF-16 units, as JavaScript's ``length`` does."""
    return len(text) + sum(1 for letter in text if ord(letter) > 0xFFFF)


def want_string(value: Any, path: str, most: int | None = None) -> str:
    """Return ``value`` if it is a string of at most ``most`` UTF-16 units."""
    if isinstance(value, Undefined):
        fail(path, "defined", value)
    if not isinstance(value, str):
        fail(path, "a string", value)
    if most is not None and len(value) * 2 > most and (length := utf16_length(value)) > most:
        fail(f"{path}.length", f"≤ `{most}`", length)
    return value


def want_bool(value: Any, path: str) -> bool:
    """Return ``value`` if it is true or false."""
    if not isinstance(value, bool):
        fail(path, "a boolean", value)
    return value


def want_number(value: Any, path: str) -> float:
    """Return ``value`` if it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MOST_NUMBER:
        fail(path, "a number", value)
    return value


def want_whole(value: Any, path: str, least: int, most: int) -> int:
    """Return ``value`` if it is a whole number in the range."""
    number = want_number(value, path)
    if not float(number).is_integer():
        fail(path, "an integer", value)
    if number < least:
        fail(path, f"≥ `{least}`", value)
    if number > most:
        fail(path, f"≤ `{most}`", value)
    return int(number)


def want_one_of(value: Any, path: str, allowed: Collection[str]) -> str:
    """Return ``value`` if it is one of ``allowed`` (an ordered collection, shown in order)."""
    if isinstance(value, Undefined):
        fail(path, "defined", value)
    if not isinstance(value, str) or value not in allowed:
        quoted = [f'`"{item}"`' for item in allowed]
        shown = (
            ", ".join(quoted[:-1]) + (", or " if len(quoted) > 2 else " or ") + quoted[-1]
            if len(quoted) > 1
            else quoted[0]
        )
        fail(path, shown, value)
    return value


def want_id(value: Any, path: str) -> str:
    """Return the dashed lower-case form of a uuid given with or without dashes."""
    if isinstance(value, Undefined):
        fail(path, "defined", value)
    if not isinstance(value, str) or not _ID.match(value):
        fail(path, "a valid uuid", value)
    return str(UUID(value))


def want_url(value: Any, path: str) -> str:
    """Return ``value`` if it is a string within the length of a URL."""
    return want_string(value, path, MOST_URL)


def only(value: Json, path: str, allowed: Collection[str]) -> None:
    """Refuse keys that are not ``allowed``."""
    for key in value:
        if key not in allowed:
            fail(f"{path}.{key}", "not present", value[key])


def get(value: Json, key: str) -> Any:
    """Return the value under ``key``, or UNDEFINED."""
    return value.get(key, UNDEFINED)
