"""Lists the block types that clients can create, with their fields and children.

https://developers.notion.com/reference/block, and the request types of Notion's JavaScript SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from cloud_broker.sandbox.errors import validation
from cloud_broker.sandbox.model import HEADINGS, Json
from cloud_broker.sandbox.shapes.checks import (
    fail,
    fail_one_of,
    get,
    only,
    want_array,
    want_bool,
    want_id,
    want_number,
    want_object,
    want_one_of,
    want_string,
    want_url,
    want_whole,
)
from cloud_broker.sandbox.shapes.rich_text import (
    COLORS,
    MOST_EXPRESSION,
    Reading,
    read_icon,
    read_rich_text,
)

Reader = Callable[[Any, str, Reading], Any]
Holds = Literal["nothing", "blocks", "columns", "rows", "labels", "toggled", "original"]
REQUIRED: Any = object()
LANGUAGES = tuple(
    """abap|abc|agda|arduino|ascii art|assembly|bash|basic|bnf|c|c#|c++|clojure|coffeescript|coq|css
dart|dhall|diff|docker|ebnf|elixir|elm|erlang|f#|flow|fortran|gherkin|glsl|go|graphql|groovy
haskell|hcl|html|idris|java|javascript|json|julia|kotlin|latex|less|lisp|livescript|llvm ir|lua
makefile|markdown|markup|matlab|mathematica|mermaid|nix|notion formula|objective-c|ocaml|pascal
perl|php|plain text|powershell|prolog|protobuf|purescript|python|r|racket|reason|ruby|rust|sass
scala|scheme|scss|shell|smalltalk|solidity|sql|swift|toml|typescript|vb.net|verilog|vhdl
visual basic|webassembly|xml|yaml|java/c/c++/c#""".replace("\n", "|").split("|")
)
_WEB = re.compile(r"\Ahttps?://[^\s/]+\S*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a block's payload, with its parser and default."""

    read: Reader
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class BlockType:
    """A creatable type with its fields and possible children."""

    fields: dict[str, Field] = field(default_factory=dict)
    holds: Holds = "nothing"
    read: Callable[[Json, str, Reading], Json] | None = None  # instead of fields


def _bool(value: Any, path: str, _: Reading) -> bool:
    return want_bool(value, path)


def _color(value: Any, path: str, _: Reading) -> str:
    return want_one_of(value, path, COLORS)


def _url(value: Any, path: str, _: Reading) -> str:
    return want_url(value, path)


def _language(value: Any, path: str, _: Reading) -> str:
    return want_one_of(value, path, LANGUAGES)


def _expression(value: Any, path: str, _: Reading) -> str:
    return want_string(value, path, MOST_EXPRESSION)


def _ratio(value: Any, path: str, _: Reading) -> float:
    ratio = want_number(value, path)
    if not 0 < ratio < 1:
        fail(path, "a number between `0` and `1`", value)
    return ratio


def _width(value: Any, path: str, _: Reading) -> int:
    return want_whole(value, path, 1, 100)


def _start_index(value: Any, path: str, _: Reading) -> int:
    return want_whole(value, path, 0, 2**31)


def _list_format(value: Any, path: str, _: Reading) -> str:
    return want_one_of(value, path, ("numbers", "letters", "roman"))


def _cells(value: Any, path: str, reading: Reading) -> list[list[Json]]:
    cells = want_array(value, path)
    return [read_rich_text(cell, f"{path}[{i}]", reading) for i, cell in enumerate(cells)]


def _no_icon(value: Any, path: str, _: Reading) -> None:
    # Only the paragraphs that label a tab may carry an icon.
    if value is not None:
        fail(path, "not present", value)


def _read_media(body: Json, path: str, reading: Reading) -> Json:
    """Parse a file given by URL or upload, with a caption; ``file`` may have a name."""
    kinds = ("external", "file_upload")
    kind = body.get("type") or next((k for k in kinds if k in body), None)
    if kind is None:
        fail_one_of((f"{path}.{k}", "defined", get(body, k)) for k in kinds)
    want_one_of(kind, f"{path}.type", kinds)
    only(body, path, {"type", kind, "caption", "name"})
    detail = want_object(get(body, kind), f"{path}.{kind}")
    if kind == "external":
        url = want_url(get(detail, "url"), f"{path}.external.url")
        if not _WEB.match(url):
            raise validation("Invalid file url." if "image" not in path else "Invalid image url.")
        shown: Json = {"url": url}
    else:
        found = want_id(get(detail, "id"), f"{path}.file_upload.id")
        reading.upload(f"{path}.file_upload.id", found)
        shown = {"id": found}
    caption = read_rich_text(body.get("caption", []), f"{path}.caption", reading)
    out: Json = {"caption": caption, "type": kind, kind: shown}
    if "name" in body:
        out["name"] = want_string(body["name"], f"{path}.name", 100)
    return out


def _read_link_to_page(body: Json, path: str, _: Reading) -> Json:
    kinds = ("page_id", "database_id", "comment_id")
    kind = body.get("type") or next((k for k in kinds if k in body), None)
    if kind is None:
        fail_one_of((f"{path}.{k}", "defined", get(body, k)) for k in kinds)
    want_one_of(kind, f"{path}.type", kinds)
    only(body, path, {"type", kind})
    return {"type": kind, kind: want_id(get(body, kind), f"{path}.{kind}")}


def _read_synced(body: Json, path: str, _: Reading) -> Json:
    only(body, path, {"synced_from"})
    source = get(body, "synced_from")
    if source is None:
        return {"synced_from": None}
    place = f"{path}.synced_from"
    want_object(source, place)
    only(source, place, {"type", "block_id"})
    return {
        "synced_from": {
            "type": "block_id",
            "block_id": want_id(get(source, "block_id"), f"{place}.block_id"),
        }
    }


_TEXT = Field(read_rich_text)
_COLOR = Field(_color, "default")
_CAPTION = Field(read_rich_text, [])
_OFF = Field(_bool, False)
_MEDIA = BlockType(read=_read_media)
_STYLED = {"rich_text": _TEXT, "color": _COLOR}
TYPES: dict[str, BlockType] = {
    "embed": BlockType({"url": Field(_url), "caption": _CAPTION}),
    "bookmark": BlockType({"url": Field(_url), "caption": _CAPTION}),
    "image": _MEDIA,
    "video": _MEDIA,
    "pdf": _MEDIA,
    "file": _MEDIA,
    "audio": _MEDIA,
    "code": BlockType({"rich_text": _TEXT, "language": Field(_language), "caption": _CAPTION}),
    "equation": BlockType({"expression": Field(_expression)}),
    "divider": BlockType(),
    "breadcrumb": BlockType(),
    "table_of_contents": BlockType({"color": _COLOR}),
    "link_to_page": BlockType(read=_read_link_to_page),
    "table_row": BlockType({"cells": Field(_cells)}),
    "table": BlockType(
        {"table_width": Field(_width), "has_column_header": _OFF, "has_row_header": _OFF}, "rows"
    ),
    "column_list": BlockType({}, "columns"),
    "column": BlockType({"width_ratio": Field(_ratio, None)}, "blocks"),
    "tab": BlockType({}, "labels"),
    **{name: BlockType({**_STYLED, "is_toggleable": _OFF}, "toggled") for name in sorted(HEADINGS)},
    "paragraph": BlockType({**_STYLED, "icon": Field(_no_icon, None)}, "blocks"),
    "bulleted_list_item": BlockType(_STYLED, "blocks"),
    "numbered_list_item": BlockType(
        {
            **_STYLED,
            "list_start_index": Field(_start_index, None),
            "list_format": Field(_list_format, None),
        },
        "blocks",
    ),
    "quote": BlockType(_STYLED, "blocks"),
    "to_do": BlockType({**_STYLED, "checked": _OFF}, "blocks"),
    "toggle": BlockType(_STYLED, "blocks"),
    "template": BlockType({"rich_text": _TEXT}, "blocks"),
    "callout": BlockType({**_STYLED, "icon": Field(read_icon, None)}, "blocks"),
    "synced_block": BlockType(holds="original", read=_read_synced),
}
# Keys that responses omit when the request had none.
QUIET = frozenset({"width_ratio", "list_start_index", "list_format"})
# A label of a tab is a paragraph which may have an icon.
LABEL = BlockType({**_STYLED, "icon": Field(read_icon, None)}, "blocks")


def read_payload(
    kind: BlockType, body: Json, path: str, reading: Reading, old: Json | None = None
) -> Json:
    """Read a block's payload (without children) into response form.

    With ``old``, absent keys keep their old values: the partial update of PATCH.
    """
    if kind.read is not None:
        return kind.read(body, path, reading)
    only(body, path, kind.fields)
    out: Json = {}
    for key, spec in kind.fields.items():
        if key in body:
            out[key] = spec.read(body[key], f"{path}.{key}", reading)
        elif old is not None:
            if key in old:
                out[key] = old[key]
        elif spec.default is REQUIRED:
            fail(f"{path}.{key}", "defined", get(body, key))
        elif key not in QUIET:
            out[key] = list(spec.default) if isinstance(spec.default, list) else spec.default
    return out
