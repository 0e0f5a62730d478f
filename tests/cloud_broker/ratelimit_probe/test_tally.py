"""The tally counts replies."""

from __future__ import annotations

from cloud_broker.ratelimit_probe.tally import Reply, ReplyKind, tally

REASON = "public_api_request_rate_limit"


def test_replies_are_counted_per_token_in_the_order_of_their_requests() -> None:
    replies = [
        Reply(3.0, "A", ReplyKind.REFUSED, 12.0, REASON),
        Reply(1.0, "A", ReplyKind.ADMITTED),
        Reply(2.0, "A", ReplyKind.REFUSED, 13.0, REASON),
        Reply(0.0, "A", ReplyKind.ADMITTED),
        Reply(4.0, "A", ReplyKind.ADMITTED),
        Reply(5.0, "A", ReplyKind.FAILED),
        Reply(0.5, "B", ReplyKind.REFUSED, 900.0, "other"),
    ]
    count = tally(replies, "A")
    assert (count.sent, count.admitted, count.refused, count.failed) == (6, 3, 2, 1)
    assert (count.first_refusal_s, count.before_first) == (2.0, 2)
    assert (count.retry_after_s, count.longest_retry_after_s) == (13.0, 13.0)
    assert count.window_s == 15.0
    assert count.reasons == {REASON: 2}


def test_without_a_refusal_there_is_nothing_to_tell_of_one() -> None:
    count = tally([Reply(0.0, "A", ReplyKind.ADMITTED)], "A")
    assert (count.refused, count.first_refusal_s, count.window_s) == (0, None, None)
    assert count.before_first == 1
    assert tally([], "A").sent == 0


def test_a_refusal_without_retry_after_or_reason_is_one_all_the_same() -> None:
    count = tally([Reply(0.0, "A", ReplyKind.REFUSED)], "A")
    assert (count.refused, count.first_refusal_s) == (1, 0.0)
    assert (count.longest_retry_after_s, count.window_s, dict(count.reasons)) == (None, None, {})
