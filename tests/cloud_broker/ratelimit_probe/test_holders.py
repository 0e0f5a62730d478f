"""The owner of a token, read from ``GET users/me``."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_broker.ratelimit_probe.holders import (
    Holder,
    LimitScope,
    read_holder,
    shared,
    with_statements,
)


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
        LimitScope.INTEGRATION,
        LimitScope.WORKSPACE,
    }
    unnamed = {"workspace_id": None, "workspace_name": None}
    assert shared(a_holder("bot-1", **unnamed), a_holder("bot-2", **unnamed)) == {
        LimitScope.INTEGRATION
    }


def test_one_bot_is_one_connection_whatever_is_said() -> None:
    one, other = a_holder("bot-1"), with_statements(a_holder("bot-1"), "x", "y")
    assert shared(one, other) == {
        LimitScope.CONNECTION,
        LimitScope.INTEGRATION,
        LimitScope.WORKSPACE,
    }


def test_what_the_operator_says_goes_before_what_was_read() -> None:
    one, other = a_holder("bot-1"), a_holder("bot-2")
    assert shared(one, other) == {LimitScope.INTEGRATION, LimitScope.WORKSPACE}
    apart = with_statements(one, "x", "here"), with_statements(other, "y", "there")
    assert shared(*apart) == frozenset()
    assert shared(with_statements(one, "x", None), with_statements(other, "x", "there")) == {
        LimitScope.INTEGRATION
    }
