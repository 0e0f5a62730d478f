"""Lists the content formats; one row serves the API, its description and the command line.

To add a format, write its converter in a module of this package and complete its row. This module
loads no library and no converter, because the command line reads it for ``--help``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from clipperd.content.losses import Losses
    from clipperd.model import Block


Converter = Callable[[Mapping[str, Any], str, "Losses"], "tuple[list[Block], str]"]
"""Takes a content object, its JSON pointer, and the losses to report to. Returns the blocks and
the title that the content gives beside its text, or "". Raises ContentInvalid.
"""


class Format(NamedTuple):
    """One content format.

    ``keys`` maps the keys of its content object to their JSON Schemas, ``format`` and ``headings``
    aside; the first key is required. ``load`` imports the converter; None marks a format that is
    refused for now. ``suffixes`` are the file names that the command line recognises it by.
    ``quick_bytes`` is the largest JSON that converts within 15 ms, so in the event loop.
    """

    label: str
    keys: Mapping[str, Mapping[str, Any]] = {}
    load: Callable[[], Converter] | None = None
    suffixes: tuple[str, ...] = ()
    quick_bytes: int = 64_000


def _markdown() -> Converter:
    from clipperd.content.markdown import from_content  # markdown-it takes 40 ms to load

    return from_content


def _text() -> Converter:
    from clipperd.content.plain import from_text

    return from_text


def _url() -> Converter:
    from clipperd.content.plain import from_url

    return from_url


def _blocks() -> Converter:
    from clipperd.content.native import from_content

    return from_content


_STRING = {"type": "string"}
_OPTIONAL = {"type": ["string", "null"]}

FORMATS: dict[str, Format] = {
    "markdown": Format(
        "Markdown",
        {"markdown": _STRING, "base_url": _OPTIONAL},
        _markdown,
        (".md", ".markdown", ".mdown"),
        quick_bytes=4_000,
    ),
    "text": Format("Text", {"text": _STRING}, _text, (".txt", ".text", ".log")),
    "url": Format("An address", {"url": _STRING, "title": _OPTIONAL}, _url),
    "blocks": Format(
        "Notion blocks",
        {"blocks": {"type": "array", "items": {"type": "object"}}},
        _blocks,
        (".json",),
    ),
    "html": Format("HTML", suffixes=(".html", ".htm", ".xhtml")),
    "image": Format("Images", suffixes=(".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".heic")),
    "file": Format("Attached files", suffixes=(".pdf", ".zip", ".docx", ".mp4", ".mp3")),
    "clipboard": Format("The clipboard"),
}
SUPPORTED: tuple[str, ...] = tuple(name for name, row in FORMATS.items() if row.load is not None)
BY_SUFFIX: dict[str, str] = {
    suffix: name for name, row in FORMATS.items() for suffix in row.suffixes
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of one content object, for the description of the API."""
    return {"oneOf": [_schema_of(name) for name in SUPPORTED]}


def _schema_of(name: str) -> dict[str, Any]:
    keys = FORMATS[name].keys
    return {
        "title": name.title() + "Content",
        "type": "object",
        "properties": {
            "format": {"const": name},
            **keys,
            "headings": {"enum": ["demote", "keep", None]},
        },
        "required": ["format", next(iter(keys))],
        "additionalProperties": False,
    }
