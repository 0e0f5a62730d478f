"""Whom a token stands for, and what two tokens have in common. Pure.

``GET users/me`` names the bot, the workspace and the owner, and of the integration only its name:
https://developers.notion.com/reference/get-self. So whether two tokens are of one integration is
best said by who made them; without a word, the same name is taken for the same integration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class LimitScope(Enum):
    """Whose a limit may be. ``CONNECTION``: one authorization, which may have several tokens."""

    TOKEN = "token"  # noqa: S105 (a name, no password)
    CONNECTION = "connection"
    INTEGRATION = "integration"
    WORKSPACE = "workspace"
    ADDRESS = "address"  # or anything else that all who ask from here have in common


@dataclass(frozen=True, slots=True)
class Holder:
    """One token's bot, integration and workspace. ``stated``: the integration was told to us."""

    bot_id: str
    name: str
    integration: str
    workspace: str
    workspace_name: str | None
    owner: str | None
    stated: bool = False


def read_holder(body: Any) -> Holder | None:
    """Read an answer of ``GET users/me``; None when it is not one."""
    if not isinstance(body, Mapping) or body.get("object") != "user":
        return None
    bot_id, name, bot = body.get("id"), body.get("name"), body.get("bot")
    if not isinstance(bot_id, str) or not isinstance(bot, Mapping):
        return None
    owner = bot.get("owner")
    owner_type = owner.get("type") if isinstance(owner, Mapping) else None
    workspace_id, workspace_name = bot.get("workspace_id"), bot.get("workspace_name")
    shown = workspace_name if isinstance(workspace_name, str) else None
    return Holder(
        bot_id=bot_id,
        name=name if isinstance(name, str) else "",
        integration=f"named {name}" if isinstance(name, str) else f"of bot {bot_id}",
        workspace=workspace_id if isinstance(workspace_id, str) else f"named {shown or bot_id}",
        workspace_name=shown,
        owner=owner_type if isinstance(owner_type, str) else None,
    )


def with_statements(holder: Holder, integration: str | None, workspace: str | None) -> Holder:
    """Put what the operator says in the place of what was read."""
    if integration is not None:
        holder = replace(holder, integration=f"stated {integration}", stated=True)
    return holder if workspace is None else replace(holder, workspace=f"stated {workspace}")


def shared(one: Holder, other: Holder) -> frozenset[LimitScope]:
    """What two tokens have in common, apart from the address that both are used from."""
    common = set()
    if one.bot_id == other.bot_id:
        # One authorization is of one integration in one workspace, whatever was stated.
        common |= {LimitScope.CONNECTION, LimitScope.INTEGRATION, LimitScope.WORKSPACE}
    if one.integration == other.integration:
        common.add(LimitScope.INTEGRATION)
    if one.workspace == other.workspace:
        common.add(LimitScope.WORKSPACE)
    return frozenset(common)
