"""The owner of a token, read from ``GET users/me``."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_broker.ratelimit_probe.holders import Holder, Scope, read_holder, shared, state


def an_answer(**bot: Any) -> dict[str, Any]:
    """As in https://developers.notion.com/reference/get-self."""
    return {
        "object": "user",
        "id": "bot-1",
        "type": "bot",
        "name": "Clipper",
        "bot": {
            "owner": {"type": "workspace", "workspace": True},
            "workspace_id": "w-1",
            "workspace_name": "Ada's",
            **bot,
        },
    }


def a_holder(bot: str, **bot_fields: Any) -> Holder:
    found = read_holder({**an_answer(**bot_fields), "id": bot})
    assert found is not None
    return found


def test_a_bot_names_itself_its_workspace_and_its_owner() -> None:
    found = a_holder("bot-1")
    assert (found.bot_id, found.name, found.workspace) == ("bot-1", "Clipper", "w-1")
    assert (found.workspace_name, found.owner) == ("Ada's", "workspace")


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"object": "error"}, {"object": "user", "id": 1, "bot": {}}, {"object": "user"}],
)
def test_anything_else_is_no_holder(body: Any) -> None:
    assert read_holder(body) is None


def test_a_workspace_without_an_id_goes_by_its_name() -> None:
    one = a_holder("bot-1", workspace_id=None)
    assert shared(one, a_holder("bot-2", workspace_id=None)) == {
        Scope.INTEGRATION,
        Scope.WORKSPACE,
    }
    unnamed = {"workspace_id": None, "workspace_name": None}
    assert shared(a_holder("bot-1", **unnamed), a_holder("bot-2", **unnamed)) == {Scope.INTEGRATION}


def test_one_bot_is_one_connection_whatever_is_said() -> None:
    one, other = a_holder("bot-1"), state(a_holder("bot-1"), "x", "y")
    assert shared(one, other) == {Scope.CONNECTION, Scope.INTEGRATION, Scope.WORKSPACE}


def test_what_the_operator_says_goes_before_what_was_read() -> None:
    one, other = a_holder("bot-1"), a_holder("bot-2")
    assert shared(one, other) == {Scope.INTEGRATION, Scope.WORKSPACE}
    apart = state(one, "x", "here"), state(other, "y", "there")
    assert shared(*apart) == frozenset()
    assert shared(state(one, "x", None), state(other, "x", "there")) == {Scope.INTEGRATION}
