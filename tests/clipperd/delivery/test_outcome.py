"""The meaning of every answer to a write: a row for each code and each kind of failure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipperd.broker.reply import Reply
from clipperd.delivery.outcome import (
    AnchorLost,
    Applied,
    Attention,
    NotApplied,
    Refused,
    Replay,
    Unknown,
    Verdict,
    of_append,
    of_create,
)

IDS = ("a", "b")
SIBLING = "not parented by the page"
BLAMED = (
    "body failed validation. Fix one:\nbody.children[37].embed should be defined, instead was"
    " `undefined`.\nbody.children[38].image should be defined, instead was `undefined`."
)
TOO_MANY = "body failed validation: body.children.length should be ≤ `100`, instead was `101`."
TRASHED = "Can't edit block that is archived. You must unarchive the block before editing."


def notion(status: int, code: str, message: str = "words", **more: Any) -> Reply:
    """An answer in Notion's form."""
    body = {"object": "error", "code": code, "message": message, "additional_data": more}
    return Reply(status, body, code)


def broker(status: int, code: str, sign: str, wait: float | None = None, **more: Any) -> Reply:
    """An answer in Notion's form that the broker made itself."""
    more |= {"broker_code": sign}
    body = {"object": "error", "code": code, "message": "words", "additional_data": more}
    return Reply(status, body, code, sign, wait)


def stranger(status: int, body: Any = None) -> Reply:
    """An answer of something between daemon and broker, or one that was cut off."""
    return Reply(status, body)


def listing(*ids: Any) -> Reply:
    return Reply(200, {"object": "list", "results": [{"id": each} for each in ids]})


def paused(what: str | None, code: str, wait: float | None = None) -> NotApplied:
    return NotApplied(wait, what, False, code, "words")


def judged(reply: Reply, *, anchored: bool = False) -> Verdict:
    return of_append(reply, expected=len(IDS), anchored=anchored)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        # Applied: the ids of what was created, whatever is listed behind them.
        (listing("a", "b"), Applied(IDS)),
        (listing("a", "b", "a later sibling"), Applied(IDS)),
        # Notion said yes, but what it said is of no use: the broker knows the ids.
        (listing("a"), Replay(None)),
        (listing("a", None), Replay(None)),
        (Reply(200, None), Replay(None)),
        (Reply(200, []), Replay(None)),
        (Reply(200, {"object": "list"}), Replay(None)),
        (Reply(200, {"object": "list", "results": "a, b"}), Replay(None)),
        (Reply(200, {"object": "list", "results": ["a", "b"]}), Replay(None)),
        (Reply(204, None), Replay(None)),
        # Not applied, and nothing is burned: what is named waits.
        (notion(429, "rate_limited"), paused("connection", "rate_limited")),
        (notion(529, "service_overload"), paused("connection", "service_overload")),
        (broker(429, "rate_limited", "limit_route", 7.0), paused("route", "limit_route", 7.0)),
        (broker(429, "rate_limited", "limit_user", 7.0), paused("user", "limit_user", 7.0)),
        (
            broker(429, "rate_limited", "limit_connection", 7.0),
            paused("connection", "limit_connection", 7.0),
        ),
        (
            broker(529, "service_overload", "upstream_unavailable", 7.0),
            paused("connection", "upstream_unavailable", 7.0),
        ),
        (notion(401, "unauthorized"), paused("user", "unauthorized")),
        (
            broker(401, "unauthorized", "NOTION_TOKEN_INVALID"),
            paused("user", "NOTION_TOKEN_INVALID"),
        ),
        (broker(401, "unauthorized", "session_expired"), paused("user", "session_expired")),
        # The broker itself says that nothing was applied.
        (
            broker(503, "service_unavailable", "draining", 2.0),
            NotApplied(2.0, None, True, "draining", "words"),
        ),
        (
            broker(500, "internal_server_error", "internal"),
            NotApplied(None, None, True, "internal", "words"),
        ),
        # Nobody knows.
        (
            broker(504, "gateway_timeout", "write_outcome_unknown", answered="true"),
            Unknown("answered", "gateway_timeout"),
        ),
        (
            broker(504, "gateway_timeout", "write_outcome_unknown", answered="false"),
            Unknown("silent", "gateway_timeout"),
        ),
        (
            broker(504, "gateway_timeout", "write_outcome_unknown"),
            Unknown("silent", "gateway_timeout"),
        ),
        (  # Nothing was applied, and no copy that is still on its way will be.
            broker(409, "conflict_error", "idempotency_key_spent"),
            NotApplied(None, None, False, "idempotency_key_spent", "words", proven=True),
        ),
        (
            broker(409, "conflict_error", "idempotency_key_expired"),
            Unknown("over", "idempotency_key_expired"),
        ),
        (
            broker(422, "validation_error", "idempotency_key_reused"),
            Unknown("silent", "idempotency_key_reused"),
        ),
        # Under way, or somebody in between spoke: the key tells.
        (broker(409, "conflict_error", "in_progress", 1.0), Replay(1.0)),
        (notion(409, "conflict_error"), Replay(None)),
        (notion(500, "internal_server_error"), Replay(None)),
        (notion(502, "bad_gateway"), Replay(None)),
        (notion(503, "service_unavailable"), Replay(None)),
        (notion(504, "gateway_timeout"), Replay(None)),
        (notion(408, "request_timeout"), Replay(None)),
        *((stranger(status), Replay(None)) for status in (302, 400, 403, 404, 408, 413, 422)),
        *((stranger(status, "<html>"), Replay(None)) for status in (500, 502, 503, 504, 520)),
        # Only a person can mend it.
        (
            notion(403, "restricted_resource"),
            Attention("no_access", "restricted_resource", "words"),
        ),
        (
            notion(403, "restricted_resource", block_limit=1000),
            Attention("workspace_full", "restricted_resource", "words"),
        ),
        (
            notion(404, "object_not_found"),
            Attention("page_gone", "object_not_found", "words"),
        ),
        (
            notion(400, "validation_error", TRASHED),
            Attention("page_trashed", "validation_error", TRASHED),
        ),
        # The content.
        (notion(400, "validation_error"), Refused("validation_error", "words")),
        (notion(400, "validation_error", BLAMED), Refused("validation_error", BLAMED, 37)),
        (notion(400, "validation_error", TOO_MANY), Refused("validation_error", TOO_MANY)),
        (notion(400, "invalid_json"), Refused("invalid_json", "words")),
        (notion(413, "payload_too_large"), Refused("payload_too_large", "words")),
        (notion(422, "validation_error"), Refused("validation_error", "words")),
        (
            broker(413, "validation_error", "body_too_large"),
            Refused("body_too_large", "words"),
        ),
        # The place, named or not.
        (notion(400, "validation_error", SIBLING), AnchorLost(SIBLING)),
    ],
    ids=str,
)
def test_an_answer_to_an_append_means(reply: Reply, verdict: Verdict) -> None:
    assert judged(reply) == verdict


@pytest.mark.parametrize("status", [429, 529])
def test_a_gateway_that_asks_to_wait_has_passed_nothing_on(status: int) -> None:
    verdict = judged(stranger(status))
    assert isinstance(verdict, NotApplied)
    assert (verdict.pause, verdict.burned) == ("connection", False)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (notion(404, "object_not_found"), AnchorLost("words")),
        (notion(400, "validation_error"), AnchorLost("words")),
        (notion(400, "validation_error", TRASHED), AnchorLost(TRASHED)),
        (
            notion(400, "validation_error", "body failed validation: body.children is bad."),
            Refused("validation_error", "body failed validation: body.children is bad."),
        ),
        (
            notion(403, "restricted_resource"),
            Attention("no_access", "restricted_resource", "words"),
        ),
        (
            broker(404, "object_not_found", "workspace_unknown"),
            Refused("workspace_unknown", "words"),
        ),
    ],
    ids=str,
)
def test_where_a_sibling_was_named_a_refusal_may_be_about_it(
    reply: Reply, verdict: Verdict
) -> None:
    assert judged(reply, anchored=True) == verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(200, {"object": "page", "id": "a"}), Applied(("a",))),
        (Reply(200, {"object": "page"}), Replay(None)),
        (Reply(200, None), Replay(None)),
        (
            notion(404, "object_not_found"),
            Attention("parent_gone", "object_not_found", "words"),
        ),
        (notion(400, "validation_error"), Refused("validation_error", "words")),
        (notion(503, "service_unavailable"), Replay(None)),
    ],
    ids=str,
)
def test_an_answer_to_a_new_page_means(reply: Reply, verdict: Verdict) -> None:
    assert of_create(reply) == verdict


BODIES = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(
        st.sampled_from(["results", "code", "message", "additional_data"]),
        st.one_of(st.none(), st.text(max_size=5), st.lists(st.none(), max_size=3)),
    ),
)


@given(
    status=st.integers(200, 599),
    body=BODIES,
    code=st.one_of(st.none(), st.sampled_from(["validation_error", "conflict_error", "odd"])),
    sign=st.one_of(st.none(), st.sampled_from(["limit_user", "in_progress", "odd"])),
    anchored=st.booleans(),
)
def test_whatever_comes_back_nothing_is_sent_again_that_may_have_been_applied(
    status: int, body: Any, code: str | None, sign: str | None, anchored: bool
) -> None:
    """Only what Notion or the broker said in so many words frees the request."""
    verdict = judged(Reply(status, body, code, sign), anchored=anchored)
    if isinstance(verdict, NotApplied | Refused | AnchorLost | Attention):
        assert code is not None or status in (401, 429, 529)
        assert status >= 400
    if isinstance(verdict, NotApplied) and status not in (401, 429, 529):
        assert sign is not None
