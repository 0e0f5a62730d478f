"""Reads the parameters that several routes share: ids and the workspace header."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from clipperd.errors import invalid
from clipperd.model import Scope, notion_id
from clipperd.web.keys import ACCOUNTS


def workspace_of(request: web.Request) -> str | None:
    """Return the workspace id of ``X-Workspace-Id``, dashed, or None. Raises InvalidInput."""
    header = request.headers.get("X-Workspace-Id")
    if header is None:
        return None
    workspace_id = notion_id(header)
    if workspace_id is None:
        raise invalid("X-Workspace-Id is not a Notion id.", {"header": "X-Workspace-Id"})
    return workspace_id


async def scope_of(request: web.Request) -> Scope:
    """Return the signed-in user's scope in the named or the current workspace.

    Raises InvalidInput, NotSignedIn, WorkspaceMismatch.
    """
    return await request.app[ACCOUNTS].scope(workspace_of(request))


def id_of(request: web.Request, name: str = "id") -> str:
    """Return the Notion id that the path holds as ``name``, dashed. Raises InvalidInput."""
    return read_id(request.match_info[name], {"parameter": name})


def read_id(text: str, place: str | Mapping[str, str]) -> str:
    """Return a Notion id, dashed. Raises InvalidInput that names ``place``."""
    found = notion_id(text)
    if found is None:
        raise invalid("This is not a Notion id.", place)
    return found
