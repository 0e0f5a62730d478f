"""A daemon loses its network: the test pulls a real (virtual) cable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from yarl import URL

from tests.stack.cable import Cable, laid
from tests.stack.certificate import self_signed
from tests.stack.stack import Stack, running
from tests.stack.tls_front import tls_front

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

Note = Callable[[str, object], None]
_ROUNDS = 3
_LOOKED = "the machine woke up or the network changed"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    # Left to itself the daemon would try again 3 to 30 s after a failure.
    slow = {"CLIPPERD_RETRY_BASE_S": "3600", "CLIPPERD_RETRY_CAP_S": "3600"}
    with running(tmp_path / "stack", **slow) as made:
        yield made


def test_the_queue_moves_as_soon_as_the_link_is_up_again(
    stack: Stack, tmp_path: Path, record_property: Note
) -> None:
    with laid() as cable:
        if cable is None:
            record_property("table: NOT RUN", "a cable that is pulled: this user may not lay one")
            _the_broker_goes_away_instead(stack)
            return
        certificate = self_signed(tmp_path, cable.near)
        with tls_front(cable.near, certificate, URL(stack.broker_url).port or 0) as url:
            stack.close_daemon()
            stack.daemon.change(CLIPPERD_BROKER_URL=url, SSL_CERT_FILE=str(certificate))
            with cable.at_the_far_end():
                stack.open_daemon()
            page = stack.notion.page("Behind a cable", "first")
            took = [_pull_and_plug(stack, cable, page.id, n) for n in range(_ROUNDS)]
            with cable.at_the_far_end():
                stack.close_daemon()
    assert stack.notion.texts(page.id) == ["first", *(f"offline {n}" for n in range(_ROUNDS))]
    assert _looks(stack) >= 2 * _ROUNDS
    seconds = ", ".join(f"{each:.1f}" for each in took)
    record_property("table: Seconds from the link to the delivery", seconds)


def _pull_and_plug(stack: Stack, cable: Cable, page_id: str, number: int) -> float:
    """Seconds from the moment at which the link came up to the delivery."""
    looks = _looks(stack)
    cable.pull()
    stack.until(lambda: _looks(stack) > looks, "the daemon does not notice that the link is down")
    with cable.at_the_far_end():
        clip = stack.clip(page_id, f"offline {number}")
        stack.until(
            lambda: stack.client.status()["connectivity"]["state"] == "offline",
            "the daemon does not notice that it is offline",
        )
        stack.until_clip(clip, lambda now: now["state"] in ("queued", "retrying"))
    cable.plug()
    begun = time.monotonic()
    with cable.at_the_far_end():
        stack.delivered(clip)
        assert stack.client.status()["connectivity"]["state"] == "online"
    return time.monotonic() - begun


def _looks(stack: Stack) -> int:
    return (stack.home / "logs" / "clipperd.log").read_text("utf-8").count(_LOOKED)


def _the_broker_goes_away_instead(stack: Stack) -> None:
    page = stack.notion.page("Behind a cable", "first")
    stack.close_broker()
    clip = stack.clip(page.id, "offline")
    stack.until(
        lambda: stack.client.status()["connectivity"]["state"] == "offline",
        "the daemon does not notice that it is offline",
    )
    stack.open_broker()
    stack.client.queue("retry")
    stack.delivered(clip)
    assert stack.notion.texts(page.id) == ["first", "offline"]
