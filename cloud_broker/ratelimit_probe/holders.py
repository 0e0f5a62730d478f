"""Reads the holder of a token, and compares the holders of two tokens. Pure.

``GET users/me`` returns the bot, the workspace, the owner, and the name of the integration:
https://developers.notion.com/reference/get-self. The operator can state the integrations; without
a statement the same name counts as the same integration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class LimitScope(Enum):
    """The scope of a limit. ``CONNECTION``: one authorization, which may have several tokens."""

    TOKEN = "token"  # noqa: S105 (not a password)
    CONNECTION = "connection"
    INTEGRATION = "integration"
    WORKSPACE = "workspace"
    ADDRESS = "address"  # or anything else that all requests from here share


@dataclass(frozen=True, slots=True)
class Holder:
    """One token's bot, integration and workspace. ``stated``: by the operator."""

    bot_id: str
    name: str
    integration: str
    workspace: str
    workspace_name: str | None
    owner: str | None
    stated: bool = False


def read_holder(body: Any) -> Holder | None:
    """Parse an answer of ``GET users/me``; None when it has another form."""
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
    """Replace fields by the operator's statements."""
    if integration is not None:
        holder = replace(holder, integration=f"stated {integration}", stated=True)
    return holder if workspace is None else replace(holder, workspace=f"stated {workspace}")


def shared(one: Holder, other: Holder) -> frozenset[LimitScope]:
    """Return the scopes that two tokens share, besides the address."""
    common = set()
    if one.bot_id == other.bot_id:
        # One authorization has one integration and one workspace, despite other statements.
        common |= {LimitScope.CONNECTION, LimitScope.INTEGRATION, LimitScope.WORKSPACE}
    if one.integration == other.integration:
        common.add(LimitScope.INTEGRATION)
    if one.workspace == other.workspace:
        common.add(LimitScope.WORKSPACE)
    return frozenset(common)
