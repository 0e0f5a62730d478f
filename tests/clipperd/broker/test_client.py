"""The daemon reads the broker's answers leniently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from clipperd.broker.client import BrokerClient, decoded, server_date
from clipperd.broker.connectivity import Connectivity
from clipperd.broker.http import AiohttpHttp, Answer
from tests.clocks import ManualClock


@given(st.binary(max_size=200), st.text(max_size=40), st.text(max_size=40))
def test_no_answer_breaks_the_readers(body: bytes, date: str, wait: str) -> None:
    answer = Answer(200, {"date": date, "retry-after": wait}, body)
    clock = ManualClock()
    client = BrokerClient(URL("http://127.0.0.1"), AiohttpHttp(), Connectivity(clock), clock)
    decoded(answer)
    server_date(answer)
    seconds = client.retry_after(answer.headers)
    assert seconds is None or seconds >= 0


def test_deeply_nested_json_is_no_answer() -> None:
    assert decoded(Answer(200, {}, b"[" * 100_000)) is None


def test_half_a_surrogate_pair_does_not_cost_the_answer() -> None:
    answer = Answer(200, {}, b'{"text": "a\\ud83d b", "n": 1}')
    assert decoded(answer) == {"text": "a\ufffd b", "n": 1}


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff{}", b'{"a":', b"NaN"])
def test_what_is_not_json_is_none(body: bytes) -> None:
    assert decoded(Answer(200, {}, body)) is None
