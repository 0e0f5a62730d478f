"""Checks rich text from a client and reduces it to the keys that a request may hold."""

from __future__ import annotations

from typing import Any

from clipperd.content.limits import COLORS
from clipperd.content.links import is_link
from clipperd.content.losses import Losses
from clipperd.content.runs import Run, scrub, text_run
from clipperd.errors import ContentInvalid
from clipperd.model import notion_id

_MARKS = frozenset({"bold", "italic", "strikethrough", "underline", "code"})
_RUN_KEYS = frozenset(
    {"type", "text", "mention", "equation", "annotations", "plain_text", "href", "object"}
)
_MENTIONS = frozenset({"user", "date", "page", "database", "template_mention", "custom_emoji"})
_READ_ONLY_MENTIONS = frozenset({"link_preview", "link_mention", "link_mentions", "agent"})


def refusal(pointer: str, code: str, detail: str) -> ContentInvalid:
    """Return the error for one place in the body; ``detail`` must hold no text of the clip."""
    return ContentInvalid(f"{detail} ({pointer})", errors=[{"pointer": pointer, "code": code}])


def escaped(key: str) -> str:
    """Return a shortened key as one step of a JSON pointer (RFC 6901)."""
    return scrub(key[:40]).replace("~", "~0").replace("/", "~1")


def checked_text(value: Any, pointer: str) -> str:
    """Return a string without NUL and lone surrogates. Raises ContentInvalid for other types."""
    if not isinstance(value, str):
        raise refusal(pointer, "not_a_string", "A string is expected here")
    return scrub(value)


def checked_object(value: Any, pointer: str) -> dict[str, Any]:
    """Return an object. Raises ContentInvalid for other types."""
    if not isinstance(value, dict):
        raise refusal(pointer, "not_an_object", "An object is expected here")
    return value


def checked_array(value: Any, pointer: str) -> list[Any]:
    """Return an array. Raises ContentInvalid for other types."""
    if not isinstance(value, list):
        raise refusal(pointer, "not_an_array", "An array is expected here")
    return value


def checked_id(value: Any, pointer: str) -> str:
    """Return a Notion id, dashed and lower case. Raises ContentInvalid for anything else."""
    found = notion_id(value) if isinstance(value, str) else None
    if found is None:
        raise refusal(pointer, "not_an_id", "A Notion id is expected here")
    return found


def checked_color(value: Any, pointer: str) -> str:
    """Return one of Notion's colours. Raises ContentInvalid for anything else."""
    if not isinstance(value, str) or value not in COLORS:
        raise refusal(pointer, "unknown_color", "Notion has no such colour")
    return value


def checked_flag(value: Any, pointer: str) -> bool:
    """Return a boolean. Raises ContentInvalid for other types."""
    if not isinstance(value, bool):
        raise refusal(pointer, "not_a_boolean", "true or false is expected here")
    return value


def checked_rich_text(value: Any, pointer: str, losses: Losses) -> list[Run]:
    """Return runs in request shape. Raises ContentInvalid for the first error."""
    runs = checked_array(value, pointer)
    return [_run(item, f"{pointer}/{index}", losses) for index, item in enumerate(runs)]


def _run(item: Any, pointer: str, losses: Losses) -> Run:
    run = checked_object(item, pointer)
    if unknown := run.keys() - _RUN_KEYS:
        raise refusal(f"{pointer}/{escaped(min(unknown))}", "unknown_key", "Notion has no such key")
    kinds = [k for k in ("text", "mention", "equation") if run.get(k) is not None]
    if len(kinds) != 1 or run.get("type", kinds[0]) != kinds[0]:
        raise refusal(pointer, "run_type", "A run is one of text, mention or equation")
    marks = _annotations(run.get("annotations"), f"{pointer}/annotations")
    if kinds[0] == "text":
        return _text(run["text"], marks, f"{pointer}/text", losses)
    result: Run
    if kinds[0] == "equation":
        body = checked_object(run["equation"], f"{pointer}/equation")
        expression = checked_text(body.get("expression"), f"{pointer}/equation/expression")
        result = {"type": "equation", "equation": {"expression": expression}}
    else:
        mention = checked_object(run["mention"], f"{pointer}/mention")
        kind = mention.get("type") or next((k for k in mention if mention[k] is not None), "")
        if not isinstance(kind, str):
            raise refusal(f"{pointer}/mention/type", "not_a_string", "A string is expected here")
        if kind in _READ_ONLY_MENTIONS:
            return _as_text(run, marks, losses)
        body = _mention(kind, mention, f"{pointer}/mention")
        result = {"type": "mention", "mention": {"type": kind, kind: body}}
    if marks:
        result["annotations"] = marks
    return result


def _text(value: Any, marks: dict[str, Any], pointer: str, losses: Losses) -> Run:
    body = checked_object(value, pointer)
    if unknown := body.keys() - {"content", "link"}:
        raise refusal(f"{pointer}/{escaped(min(unknown))}", "unknown_key", "Notion has no such key")
    content = checked_text(body.get("content"), f"{pointer}/content")
    link = body.get("link")
    if link is None:
        return text_run(content, annotations=marks)
    where = f"{pointer}/link"
    url = checked_text(checked_object(link, where).get("url"), f"{where}/url").strip()
    return text_run(content, link=usable_link(url, content, losses), annotations=marks)


def usable_link(url: str, text: str, losses: Losses) -> str | None:
    """Return the URL if Notion accepts it as a link; else report the loss and return None."""
    if is_link(url):
        return url
    losses.add(
        "link_dropped", "A link that Notion does not accept was removed; its text stays", text
    )
    return None


def _annotations(value: Any, pointer: str) -> dict[str, Any]:
    marks: dict[str, Any] = {}
    if value is None:
        return marks
    for key, on in checked_object(value, pointer).items():
        where = f"{pointer}/{escaped(key)}"
        if on is None:
            continue
        if key == "color":
            if checked_color(on, where) != "default":
                marks[key] = on
        elif key not in _MARKS:
            raise refusal(where, "unknown_key", "Notion has no such annotation")
        elif checked_flag(on, where):
            marks[key] = True
    return marks


def _mention(kind: str, mention: dict[str, Any], pointer: str) -> dict[str, Any]:
    if kind not in _MENTIONS:
        raise refusal(pointer, "unknown_mention", "Notion has no such mention")
    where = f"{pointer}/{kind}"
    body = checked_object(mention.get(kind), where)
    if kind == "date":
        start = checked_text(body.get("start"), f"{where}/start")
        more = {
            k: checked_text(body[k], f"{where}/{k}") for k in ("end", "time_zone") if body.get(k)
        }
        return {"start": start, **more}
    if kind == "template_mention":
        for key, values in (
            ("template_mention_date", ("today", "now")),
            ("template_mention_user", ("me",)),
        ):
            if body.get(key) in values:
                return {"type": key, key: body[key]}
        raise refusal(where, "unknown_mention", "Notion has no such template mention")
    return {"id": checked_id(body.get("id"), f"{where}/id")}


def _as_text(run: Run, marks: dict[str, Any], losses: Losses) -> Run:
    """Convert a mention that Notion returns but does not accept to its text with its link."""
    href = run.get("href") if isinstance(run.get("href"), str) else None
    content = run.get("plain_text") if isinstance(run.get("plain_text"), str) else href
    text = scrub(content or "")
    losses.add("mention_as_text", "A mention that Notion cannot create became text", text)
    link = usable_link(href, text, losses) if href else None
    return text_run(text, link=link, annotations=marks)
