"""Another workspace, another account: immediately, although the broker does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stack.browser import consent
from tests.stack.stack import MIRA, Stack, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TEAM = "Northwind Team"


def with_both_workspaces(stack: Stack) -> tuple[str, str]:
    """Mira adds the second workspace; the pages of both are read. Returns their ids."""
    begun = stack.client.login("add_workspace")
    consent(begun["login_url"], user=MIRA, workspace=TEAM)
    stack.until(lambda: len(stack.client.workspaces()) == 2, "the workspace did not arrive")
    ids = {each["name"]: each["id"] for each in stack.client.workspaces()}
    team = ids.pop(TEAM)
    (own,) = ids.values()
    for each in (team, own):
        stack.client.use_workspace(each)
        stack.indexed()
    return own, team


def test_a_workspace_is_chosen_and_an_account_left_while_the_service_answers_nobody(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as stack:
        own, team = with_both_workspaces(stack)
        mine = stack.notion.page("Mine")
        theirs = stack.notion.page("Ours", workspace_id=team)
        stack.notion.forget_calls()
        stack.broker.freeze()
        clips: dict[str, dict[str, Any]] = {}
        for workspace, page in ((team, theirs), (own, mine), (team, theirs)):
            stack.client.use_workspace(workspace)
            listed = stack.client.pages(view="all")
            assert {each["workspace_id"] for each in listed["items"]} == {workspace}
            assert listed["index"]["complete"]
            clip = stack.clip(page.id, f"{page.title} {len(clips)}")
            assert clip["workspace_id"] == workspace
            clips[clip["id"]] = clip
        assert stack.client.logout()["state"] == "signed_out"
        assert list(stack.notion.each_call()) == []
        stack.broker.thaw()

        stack.sign_in(MIRA)
        stack.delivered(*clips.values())
        assert stack.notion.texts(mine.id) == ["Mine 1"]
        assert stack.notion.texts(theirs.id) == ["Ours 0", "Ours 2"]
