"""Bad values for every place of a body, a query, a path or a header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

DEEP = 100_000
NOT_BODIES: dict[str, bytes] = {
    "no JSON": b"not json",
    "half JSON": b'{"a": ',
    "two values": b"{} {}",
    "a list": b"[]",
    "a list of objects": b"[{}]",
    "a text": b'"text"',
    "a number": b"7",
    "null": b"null",
    "true": b"true",
    "NaN": b'{"a": NaN}',
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // x",
    "bytes that are no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a raw NUL": b'{"a": "\x00"}',
    "deep lists": b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "an endless number": b'{"a": 1' + b"0" * 5000 + b"}",
    "an unknown field": b'{"no_such_field_of_ours": 1}',
}

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**63,
    10**30,
    1e308,
    "",
    " ",
    "x",
    "\x00",
    "a\x00b",
    "\u2028\ufeff\u202e",
    "../../../etc/passwd",
    "' OR 1=1 --",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T25:61:61Z",
    "9" * 5000,
    [],
    [None],
    [[]],
    {},
    {"no_such_field_of_ours": 1},
)

PIECES: tuple[str, ...] = (
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "%00",
    "a%00b",
    "%ff",
    "%ed%a0%80",
    "%c0%ae%c0%ae",
    "x" * 3000,
    "'%20OR%201=1%20--",
    "0",
    "-1",
    "null",
    "%7B%22%24ne%22:1%7D",
    quote("<script>alert(1)</script>"),
    quote("ｆ" * 32),  # full-width digits and letters are no hexadecimal
    quote("٠" * 32),
    "g" * 32,
    "7f0e6a34-5b1c-4c0e-9d0f-3a2b1c0d9e8f%0a",
    "7f0e6a34-5b1c-4c0e-9d0f-3a2b1c0d9e8f.",
    "%0d%0aSet-Cookie:%20a=b",
)
"""Pieces of a path as they stand on the request line."""

QUERY_VALUES: tuple[str, ...] = (
    *("", "-1", "0", "101", "1e9", "1.5", "9" * 30, "null", "[]", "true", "%00", "%ff", "a%00b"),
    *(
        "%ed%a0%80",
        "x" * 5000,
        "'%20OR%201=1",
        "../..",
        "eyJhIjoxfQ",
        "e30",
        "W10",
        "bnVsbA",
        "Li4v",
    ),
    *("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "2026-13-01", "%F0%9F%92%A5"),
)

HEADER_VALUES: tuple[bytes, ...] = (
    *(b"", b" ", b"x", b"../..", b"\xc3\xa9", b"a" * 300, b"a\tb", b"'--", b"null"),
    *(b"-1", b"1.5", b"9" * 40, b"*", b'W/"', b'"', "٣".encode()),
)
NO_UTF8: tuple[bytes, ...] = (b"\xff\xfe", b"\xed\xa0\x80", b"a\xc3", b"\xc0\xae")


def variants(bodies: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Bodies that differ from one of ``bodies`` in one place: a bad value, missing, or more.

    Inside, each place gets one value in five, the next place the next fifth.
    """
    turn = 0
    for body in bodies:
        for place in _places(body):
            where = "/" + "/".join(map(str, place))
            turn += 1
            for number, value in enumerate(VALUES):
                if len(place) < 2 or number % 5 == turn % 5:
                    yield f"{where} = {_shown(value)}", _with(body, place, value)
            yield f"{where} missing", _without(body, place)
            if isinstance(_at(body, place), dict):
                yield f"{where} + unknown", _with(body, (*place, "no_such_field_of_ours"), 1)


def _places(body: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(body, dict):
        for key, value in body.items():
            yield from _places(value, (*at, key))
    elif isinstance(body, list):
        for index, value in enumerate(body):
            yield from _places(value, (*at, index))


def _at(body: Any, place: Sequence[Any]) -> Any:
    for key in place:
        body = body[key]
    return body


def _with(body: Any, place: Sequence[Any], value: Any) -> Any:
    copied = json.loads(json.dumps(body))
    _at(copied, place[:-1])[place[-1]] = value
    return copied


def _without(body: Any, place: Sequence[Any]) -> Any:
    copied = json.loads(json.dumps(body))
    del _at(copied, place[:-1])[place[-1]]
    return copied


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
