"""Parses rich text from request form into response form.

Limits: 100 items, 2000 characters a text, 2000 a URL, 1000 an equation
(https://developers.notion.com/reference/request-limits).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cloud_broker.sandbox.errors import validation
from cloud_broker.sandbox.model import Json
from cloud_broker.sandbox.shapes.checks import (
    fail,
    fail_one_of,
    get,
    only,
    want_array,
    want_bool,
    want_id,
    want_object,
    want_one_of,
    want_string,
    want_url,
)

MOST_TEXT = 2000
MOST_EXPRESSION = 1000
_PLAIN = ("default", "gray", "brown", "orange", "yellow", "green", "blue", "purple", "pink", "red")
COLORS = (*_PLAIN, *(f"{name}_background" for name in _PLAIN))
STYLES = ("bold", "italic", "strikethrough", "underline", "code")
_NO_STYLE: Json = {**dict.fromkeys(STYLES, False), "color": "default"}
BAD_LINK = "Content creation Failed. Fix the following: \nInvalid URL for link."
KINDS = ("text", "mention", "equation")
MENTIONS = ("user", "page", "database", "date", "template_mention", "custom_emoji")
_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*:\S+\Z")


@dataclass(frozen=True, slots=True)
class Reading:
    """The parts of the world that a parser needs: names of mentions, uploads, settings."""

    name_of: Callable[[str, str], str]  # (user|page|database, id) -> shown name
    upload: Callable[[str, str], None]  # (path, id): raise unless that upload may be attached
    normalize: bool = True


def read_rich_text(value: Any, path: str, reading: Reading) -> list[Json]:
    """Validate an array of rich text and return its response form.

    With ``reading.normalize``, neighbouring texts of equal style and link become one, and empty
    ones vanish, since Notion stores styled runs and not the request's items.
    """
    items = want_array(value, path)
    runs = [_read_item(item, f"{path}[{i}]", reading) for i, item in enumerate(items)]
    return _merge(runs) if reading.normalize else runs


def plain_text(runs: list[Json]) -> str:
    """Join the texts of response-form ``runs``."""
    return "".join(run["plain_text"] for run in runs)


def text_runs(text: str) -> list[Json]:
    """Return a plain string as rich text in response form."""
    return (
        [_shown("text", {"content": text, "link": None}, dict(_NO_STYLE), text, None)]
        if text
        else []
    )


def _read_item(value: Any, path: str, reading: Reading) -> Json:
    item = want_object(value, path)
    kind = item.get("type")
    if kind is None:
        kind = next((k for k in KINDS if k in item), None)
        if kind is None:
            fail_one_of((f"{path}.{k}", "defined", get(item, k)) for k in KINDS)
    want_one_of(kind, f"{path}.type", KINDS)
    only(item, path, {"type", kind, "annotations", "plain_text", "href"})
    style = _read_style(item, path)
    detail = want_object(get(item, kind), f"{path}.{kind}")
    place = f"{path}.{kind}"
    if kind == "text":
        return _read_text(detail, place, style, reading)
    if kind == "equation":
        only(detail, place, {"expression"})
        said = want_string(get(detail, "expression"), f"{place}.expression", MOST_EXPRESSION)
        return _shown(kind, {"expression": said}, style, said, None)
    return _read_mention(detail, place, style, reading)


def _read_text(detail: Json, path: str, style: Json, reading: Reading) -> Json:
    only(detail, path, {"content", "link"})
    content = want_string(get(detail, "content"), f"{path}.content", MOST_TEXT)
    link = detail.get("link")
    url = None
    if link is not None:
        want_object(link, f"{path}.link")
        only(link, f"{path}.link", {"url", "type"})
        url = want_url(get(link, "url"), f"{path}.link.url")
        url = _link_url(url, reading)
    shown_link = {"url": url} if url else None
    return _shown("text", {"content": content, "link": shown_link}, style, content, url or None)


def _read_mention(detail: Json, path: str, style: Json, reading: Reading) -> Json:
    kind = detail.get("type") or next((k for k in MENTIONS if k in detail), None)
    if kind is None:
        fail_one_of((f"{path}.{k}", "defined", get(detail, k)) for k in MENTIONS)
    want_one_of(kind, f"{path}.type", MENTIONS)
    only(detail, path, {"type", kind})
    target = want_object(get(detail, kind), f"{path}.{kind}")
    href = None
    if kind in ("user", "page", "database"):
        found = want_id(get(target, "id"), f"{path}.{kind}.id")
        name = reading.name_of(kind, found)
        target = {"object": "user", "id": found} if kind == "user" else {"id": found}
        plain = f"@{name}" if kind == "user" else name
        href = None if kind == "user" else f"https://app.notion.com/p/{found.replace('-', '')}"
    elif kind == "date":
        start = want_string(get(target, "start"), f"{path}.date.start")
        end = target.get("end")
        target = {"start": start, "end": end, "time_zone": target.get("time_zone")}
        plain = start if end is None else f"{start} → {end}"
    else:
        plain = f":{target['name']}:" if isinstance(target.get("name"), str) else ""
    return _shown("mention", {"type": kind, kind: target}, style, plain, href)


def _read_style(item: Json, path: str) -> Json:
    asked = item.get("annotations")
    if asked is None:
        return dict(_NO_STYLE)
    place = f"{path}.annotations"
    return _style(want_object(asked, place), place)


def _style(asked: Json, path: str) -> Json:
    only(asked, path, {*STYLES, "color"})
    style: Json = {name: want_bool(asked.get(name, False), f"{path}.{name}") for name in STYLES}
    style["color"] = want_one_of(asked.get("color", "default"), f"{path}.color", COLORS)
    return style


def _shown(kind: str, detail: Json, style: Json, plain: str, href: str | None) -> Json:
    return {"type": kind, kind: detail, "annotations": style, "plain_text": plain, "href": href}


def _merge(runs: list[Json]) -> list[Json]:
    merged: list[Json] = []
    for run in runs:
        if run["type"] == "text" and not run["plain_text"]:
            continue
        last = merged[-1] if merged else None
        if last is not None and _alike(last, run):
            content = last["plain_text"] + run["plain_text"]
            detail = {"content": content, "link": run["text"]["link"]}
            merged[-1] = _shown("text", detail, run["annotations"], content, run["href"])
        else:
            merged.append(run)
    return merged


def _alike(one: Json, other: Json) -> bool:
    marks = [(run["type"], run["annotations"], run["href"]) for run in (one, other)]
    return one["type"] == "text" and marks[0] == marks[1]


def _link_url(url: str, reading: Reading) -> str:
    if url and not (_SCHEME.match(url) or url[0] in "/#"):
        raise validation(BAD_LINK)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise validation(BAD_LINK) from None
    if not reading.normalize:
        return url
    if parts.scheme in ("http", "https") and parts.netloc and not parts.path:
        return parts._replace(path="/").geturl()
    return url


def read_icon(value: Any, path: str, reading: Reading) -> Json | None:
    """Validate an icon: emoji, external file, upload, custom emoji, or null."""
    if value is None:
        return None
    icon = want_object(value, path)
    kinds = ("emoji", "external", "file_upload", "custom_emoji", "icon")
    kind = icon.get("type") or next((k for k in kinds if k in icon), None)
    if kind is None:
        fail_one_of((f"{path}.{k}", "defined", get(icon, k)) for k in kinds)
    want_one_of(kind, f"{path}.type", kinds)
    only(icon, path, {"type", kind})
    if kind == "emoji":
        emoji = want_string(get(icon, "emoji"), f"{path}.emoji")
        if not emoji or emoji.isascii():
            fail(f"{path}.emoji", "an emoji", emoji)
        return {"type": "emoji", "emoji": emoji}
    detail = want_object(get(icon, kind), f"{path}.{kind}")
    if kind == "external":
        detail = {"url": want_url(get(detail, "url"), f"{path}.external.url")}
    elif kind == "file_upload":
        found = want_id(get(detail, "id"), f"{path}.file_upload.id")
        reading.upload(f"{path}.file_upload.id", found)
        detail = {"id": found}
    return {"type": kind, kind: detail}
