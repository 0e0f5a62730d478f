"""Finds the faults in an answer, or in Notion's received calls, for one request (pure).

The rules come from the documents, not from the broker's code: of that only the table is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from cloud_broker.proxy.routes import ROUTES, Route
from tests.security.answers import no_problem
from tests.security.fuzz.grammar import PROXY, Case
from tests.security.fuzz.recorder import Arrived, notion_token, source_of
from tests.security.fuzz.wire import Answer

AN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TO_NOTION = {
    *("host", "authorization", "notion-version", "user-agent", "accept", "accept-encoding"),
    *("content-type", "content-length", "transfer-encoding"),
}
TO_CALLERS = {
    *("content-type", "content-length", "date", "server", "cache-control", "x-request-id"),
    *("x-content-type-options", "x-broker-code", "retry-after", "ratelimit", "ratelimit-policy"),
    *("idempotency-replayed", "connection", "x-notion-request-id"),
}


@dataclass(frozen=True, slots=True)
class Who:
    """Who asked: the number of the person, their session's token, and Notion's host and port."""

    number: int
    token: str
    notion: str


def judge(case: Case, answers: Sequence[Answer], arrived: Sequence[Arrived], who: Who) -> list[str]:
    """Everything that is wrong; empty is good."""
    found = list(_answers(case, answers, who))
    rows = [row_of(each) for each in arrived]
    for each, row in zip(arrived, rows, strict=True):
        shown = f"at Notion: {each.method} {each.target[:120]}"
        if row is None:
            found.append(f"{shown} is in no row of the table")
        else:
            found += [f"{shown}: {fault}" for fault in _request(case, each, row, who)]
    if len(arrived) > 1 and not _is_of_a_database(arrived):
        found.append(f"{len(arrived)} requests reached Notion")
    final = answers[0] if answers else None
    if arrived and final is not None and final.status != 200:
        found.append(f"reached Notion, and is answered {final.status}")
    if final is not None and final.status == 200 and _path(case).startswith(PROXY.encode()):
        replayed = final.header("idempotency-replayed") == "true"
        if not arrived and not replayed:
            found.append("answered 200 without Notion")
        if arrived and json.loads(final.body).get("person") != who.number:
            found.append(f"got somebody else's answer: {final.body[:200]!r}")
    return found


def row_of(arrived: Arrived) -> Route | None:
    """The row of the table that a request at Notion is of."""
    path = arrived.target.partition("?")[0]
    if not path.startswith("/v1/"):
        return None
    words = path.removeprefix("/v1/").split("/")
    for route in ROUTES:
        pairs = list(zip(route.words, words, strict=False))
        if (
            route.method == arrived.method
            and len(words) == len(route.words)
            and all(
                AN_ID.fullmatch(word) if part.startswith(":") else part == word
                for part, word in pairs
            )
        ):
            return route
    return None


def _answers(case: Case, answers: Sequence[Answer], who: Who) -> Iterator[str]:
    if not answers and not case.odd:
        yield "no answer"
    if len(answers) > 1:
        yield f"{len(answers)} answers: {[answer.status for answer in answers]}"
    for answer in answers:
        if answer.status >= 400 and not _is_page(case, answer):
            body: Any = _json(answer.body)
            fault = no_problem(answer.status, {"Content-Type": answer.header("content-type")}, body)
            if fault is not None and not (case.method == b"HEAD" and answer.status < 500):
                yield fault
        elif answer.status >= 300:
            yield f"{answer.status} to {answer.header('location')[:80]}"
        whole = repr(answer.headers).encode() + answer.body
        for secret in (who.token, notion_token(who.number)):
            if secret.encode() in whole:
                yield f"says {secret[:12]}… in the answer"
        names = {name for name, _ in answer.headers}
        if _path(case).startswith(PROXY.encode()) and names - TO_CALLERS:
            yield f"answers with {sorted(names - TO_CALLERS)}"


def _is_page(case: Case, answer: Answer) -> bool:
    """Whether a browser is told what is wrong with a sign-in."""
    wants = any(_is(name, "accept") and b"text/html" in value for name, value in case.headers)
    is_sign_in = _path(case).startswith(b"/api/auth/notion") and wants
    return is_sign_in and answer.header("content-type") == "text/html; charset=utf-8"


def _request(case: Case, arrived: Arrived, row: Route, who: Who) -> Iterator[str]:
    """What is wrong with a request at Notion that is of ``row``."""
    yield from _headers(case, arrived, row, who)
    yield from _target(case, arrived, row)
    if row.streams:
        if arrived.body != case.content:
            yield "another form than was sent"
    elif row.body is None:
        if arrived.body:
            yield f"has a body: {arrived.body[:80]!r}"
    else:
        yield from _body(case, arrived, row)


def _headers(case: Case, arrived: Arrived, row: Route, who: Who) -> Iterator[str]:
    names = [name for name, _ in arrived.headers]
    named = dict(arrived.headers)
    if set(names) - TO_NOTION or len(set(names)) < len(names):
        yield f"carries {sorted(names)}"
    fixed = {
        "host": who.notion,
        "authorization": f"Bearer {notion_token(who.number)}",
        "notion-version": "2026-03-11",
        "user-agent": "clipperd-broker",
        "accept": "application/json",
    }
    for name, value in fixed.items():
        if named.get(name) != value:
            yield f"{name} is {named.get(name)!r}"
    kinds = [value.decode("latin-1") for name, value in case.headers if _is(name, "content-type")]
    wanted = kinds[:1] if row.streams else ["application/json"]
    if (row.body is not None or row.streams) and [named.get("content-type")] != wanted:
        yield f"content-type is {named.get('content-type')!r}"


def _target(case: Case, arrived: Arrived, row: Route) -> Iterator[str]:
    """The caller's own target says the same, letter for letter but for the form of the id."""
    path, _, query = arrived.target.partition("?")
    words = path.removeprefix("/v1/").split("/")
    asked = _path(case).decode("latin-1").removeprefix(PROXY).removeprefix("v1/").split("/")
    parent = _parent_database(case) if asked == ["pages"] else None
    if asked[:1] == ["databases"] or parent is not None:  # up to two calls, the second as asked
        database = parent or _dashed(asked[1])
        if row.name == "databases.get":
            if words[1] != database or (query and case.method == b"POST"):
                yield f"another database, or a query {query!r}"
            return
        if arrived.method.encode() != case.method:
            yield f"the caller said {case.method!r}"
        if words[0] == "data_sources" and words[1:] != [source_of(database), *asked[2:]]:
            yield "another database"
        if words[0] not in ("data_sources", "pages"):
            yield f"the caller said {asked}"
    elif arrived.method.encode() != case.method:
        yield f"the caller said {case.method!r}"
    elif [_dashed(word) for word in asked] != words:
        yield f"the caller said {asked}"
    given = parse_qsl(case.target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True)
    sent = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    if [(key, _capped(key, value)) for key, value in given] != sent:
        yield f"a query {query!r}"
    for key, value in sent:
        if key not in row.query or not re.fullmatch(r"[\x21-\x7e]{1,512}", value):
            yield f"a query {query!r}"
        if key == "page_size" and not 0 <= int(value) <= 100:
            yield f"a page of {value}"


def _whole(value: Any) -> Any:
    """Return JSON with U+FFFD for each half of a surrogate pair, as the broker forwards it."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in value.items()}
    return value


def _body(case: Case, arrived: Arrived, row: Route) -> Iterator[str]:
    """The caller's own body says the same, in the words of the version spoken upstream."""
    doubled: list[str] = []
    try:
        sent = json.loads(arrived.body, object_pairs_hook=_noting(doubled), parse_constant=_no)
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    if doubled:
        yield f"doubled keys {doubled}"
    if _depth(sent) > 32:
        yield "nested too deeply"
    allowed = (row.body or frozenset()) - {"after", "archived"}
    if set(sent) - allowed:
        yield f"keys {sorted(set(sent) - allowed)}"
    given = _whole(_json(case.content or b"{}"))
    parent = _parent_database(case) if row.name == "pages.create" else None
    if parent is not None:
        given["parent"] = {"type": "data_source_id", "data_source_id": source_of(parent)}
    if not isinstance(given, dict) or sent != _upstream(given):
        yield f"another body than was sent: {arrived.body[:200]!r}"


def _upstream(given: dict[str, Any]) -> dict[str, Any]:
    """What an older client's words are in the newer version."""
    said = dict(given)
    if "after" in said:
        where = {"id": _dashed(said.pop("after"))}
        said["position"] = {"type": "after_block", "after_block": where}
    if "archived" in said:
        said["in_trash"] = said.pop("archived")
    size = said.get("page_size")
    if isinstance(size, int) and not isinstance(size, bool):
        said["page_size"] = min(size, 100)
    return said


def _path(case: Case) -> bytes:
    """The target's path as it stands there."""
    return case.target.partition(b"?")[0]


def _is_of_a_database(arrived: Sequence[Arrived]) -> bool:
    """A database is looked up, then its only data source is asked or gets a row."""
    if len(arrived) != 2:
        return False
    first, second = (each.target.partition("?")[0].split("/") for each in arrived)
    if (arrived[0].method, first[2:3]) != ("GET", ["databases"]):
        return False
    source = source_of(first[3])
    if second[2:] == ["pages"]:
        return arrived[1].method == "POST" and source.encode() in arrived[1].body
    ways = [("POST", ["data_sources", source, "query"]), ("GET", ["data_sources", source])]
    return (arrived[1].method, second[2:]) in ways


def _parent_database(case: Case) -> str | None:
    """The database that a new page names as its parent, and no data source."""
    given = _whole(_json(case.content or b"{}"))
    parent = given.get("parent") if isinstance(given, dict) else None
    if not isinstance(parent, dict) or "data_source_id" in parent:
        return None
    named = parent.get("database_id")
    found = _dashed(named) if isinstance(named, str) else ""
    return found if AN_ID.fullmatch(found) else None


def _dashed(word: str) -> str:
    plain = word.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{32}", plain):
        return word
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"


def _capped(key: str, value: str) -> str:
    return str(min(int(value), 100)) if key == "page_size" and value.isdigit() else value


def _is(name: bytes, other: str) -> bool:
    return name.lower() == other.encode()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _noting(doubled: list[str]) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        doubled.extend(key for key in set(keys) if keys.count(key) > 1)
        return dict(found)

    return pairs


def _no(constant: str) -> Any:
    raise ValueError(constant)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
