"""Repairing text: halves of surrogate pairs and byte order marks in JSON, broken bytes in rows."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipperd.storage.text import decode_json, readable

HALF = r"\ud83d"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rf'{{"t":"cut {HALF}"}}', "cut \ufffd"),
        (r'{"t":"\uDC00\uD83D\uDE00"}', "\ufffd\U0001f600"),
        (r'{"t":"\ud83d\ud83d\ude00"}', "\ufffd\U0001f600"),
        (r'{"t":"\\ud83d \ud83d"}', "\\ud83d \ufffd"),
        (r'{"t":"\\\ud83d"}', "\\\ufffd"),
        ('\ufeff{"t":"mark"}', "mark"),
    ],
)
def test_a_half_becomes_the_replacement_character(raw: str, text: str) -> None:
    assert decode_json(raw.encode(), dict[str, str]) == {"t": text}


def test_halves_that_were_encoded_one_by_one_are_joined_or_replaced() -> None:
    raw = b'{"t":"\xed\xa0\xbd\xed\xb8\x80 \xed\xa0\xbd"}'
    assert decode_json(raw, dict[str, str]) == {"t": "\U0001f600 \ufffd"}


@given(st.dictionaries(st.text(), st.text(st.characters())))
def test_any_text_of_javascript_is_taken_and_whole_text_is_kept(value: dict[str, str]) -> None:
    cut = {key: text + "\ud83d" for key, text in value.items()}
    decoded = decode_json(json.dumps(cut).encode(), dict[str, str])
    for key, text in value.items():
        try:
            (key + text).encode()
        except UnicodeEncodeError:
            continue
        assert decoded[key] == text + "\ufffd"


@pytest.mark.parametrize("raw", [b"{", b"\xff", b'{"t": "\xff"}', b"[" * 50_000])
def test_broken_json_stays_broken(raw: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        decode_json(raw, Any)


def test_broken_bytes_of_a_row_are_replaced() -> None:
    assert readable(b"a\xffb") == "a\ufffdb"
