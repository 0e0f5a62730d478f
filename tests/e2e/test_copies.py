"""One queue in two places, or set back: each clip arrives once, or the user is asked."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clipperd.client import Client
from clipperd.process import endpoint
from tests.stack.program import Program
from tests.stack.stack import Stack, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

TEXTS = [f"note {number}" for number in range(5)]


def switch(stack: Stack, home: Path) -> None:
    """Let the stack's daemon be the one of ``home``, as on another machine."""
    stack.home = home
    env = {**stack._base, **stack.daemon_env, "CLIPPERD_HOME": str(home)}
    stack.daemon = Program("daemon", ["clipperd", "run"], env, home.with_suffix(".txt"))
    stack.client = Client(lambda: endpoint.read(home / "endpoint.json"))


def states(stack: Stack, clips: Sequence[Mapping[str, Any]]) -> set[tuple[str, str | None]]:
    """The states of the clips' deliveries, each with its reason, once all is at rest."""
    stack.drained()
    found = [stack.client.one_clip(clip["id"])["deliveries"][0] for clip in clips]
    return {(each["state"], each.get("reason")) for each in found}


def once(stack: Stack, page: str, *more: str) -> None:
    assert Counter(stack.notion.texts(page)[1:]) == Counter([*TEXTS, *more])


@pytest.mark.parametrize("signs_in", [False, True])
def test_a_copied_home_sends_no_clip_twice(tmp_path: Path, *, signs_in: bool) -> None:
    with running(tmp_path) as stack:
        page = stack.notion.page("Copied", "Above")
        stack.kill_broker()
        clips = [stack.clip(page.id, text) for text in TEXTS]
        stack.close_daemon()
        copy = tmp_path / "second"
        shutil.copytree(stack.home, copy)
        stack.open_broker()
        stack.open_daemon()
        assert states(stack, clips) == {("delivered", None)}
        stack.close_daemon()
        switch(stack, copy)
        stack.open_daemon()
        if signs_in:
            stack.client.logout()
            stack.sign_in()
        # A clip that was under way as the broker died has the same key in both files.
        found = states(stack, clips) - {("delivered", None)}
        assert found == {("needs_attention", "outcome_unknown")}
        once(stack, page.id)
        delivery = stack.client.one_clip(clips[-1]["id"])["deliveries"][0]
        assert {"resend", "mark_delivered"} <= {*delivery["actions"]}
        new = stack.clip(page.id, "new")
        stack.delivered(new)
        once(stack, page.id, "new")


def test_a_home_set_back_after_the_delivery_asks(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        page = stack.notion.page("Set back", "Above")
        stack.delivered(stack.clip(page.id, "before"))
        stack.kill_broker()
        clips = [stack.clip(page.id, text) for text in TEXTS]
        stack.kill_daemon()
        snapshot = tmp_path / "snapshot"
        shutil.copytree(stack.home, snapshot)
        stack.open_broker()
        stack.open_daemon()
        assert states(stack, clips) == {("delivered", None)}
        stack.kill_daemon()
        shutil.rmtree(stack.home)
        snapshot.rename(stack.home)
        stack.open_daemon()
        found = states(stack, clips) - {("delivered", None)}
        assert found == {("needs_attention", "outcome_unknown")}
        once(stack, page.id, "before")
