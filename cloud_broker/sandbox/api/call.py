"""Defines the input and output of an endpoint, and shared lookups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cloud_broker.sandbox.errors import not_found, plain, validation
from cloud_broker.sandbox.model import Json, Node, Page, Token, User
from cloud_broker.sandbox.render import Renderer
from cloud_broker.sandbox.shapes.checks import MOST_ITEMS, fail, want_id, want_object
from cloud_broker.sandbox.shapes.rich_text import Reading
from cloud_broker.sandbox.world import World

Access = Literal["read", "insert", "update", "read_users", "any"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request that passed the checks on URL, JSON, authorization and version."""

    world: World
    token: Token
    version: str
    ids: Mapping[str, str]  # path parameters as written
    query: Mapping[str, str]
    body: Any
    base_url: str
    search_lag_s: float = 0.0
    form: Mapping[str, bytes] = field(default_factory=dict)
    authorization: str = ""

    @property
    def integration(self) -> str:
        """The name of the calling integration."""
        return self.world.integrations[self.token.client_id].name

    @property
    def render(self) -> Renderer:
        """The renderer for this call's version."""
        return Renderer(self.world, self.version, self.base_url)

    @property
    def reading(self) -> Reading:
        """The parts of the world that parsers of requests need."""
        return Reading(self._name_of, self._attachable, self.world.config.normalize_text)

    def id(self, name: str) -> str:
        """Return a path parameter as a dashed uuid. Raises NotionError."""
        return want_id(self.ids[name], f"path.{name}")

    def object(self) -> Json:
        """Return the body if it is an object."""
        return want_object(self.body, "body")

    def find(self, node_id: str, what: str = "block") -> Node:
        """Return a node that exists and is shared with the connection. Raises NotionError (404)."""
        node = self.world.nodes.get(node_id)
        if node is None or not self.world.visible(node, self.token):
            raise not_found(node_id, self.integration, what)
        return node

    def _name_of(self, kind: str, node_id: str) -> str:
        if kind == "user":
            user: User | None = self.world.users.get(node_id)
            return user.name if user is not None else "Anonymous"
        node = self.world.nodes.get(node_id)
        if node is None or not self.world.visible(node, self.token):
            return "Untitled"
        return self.world.title_of(node) or "Untitled"

    def _attachable(self, path: str, upload_id: str) -> None:
        upload = self.world.uploads.get(upload_id)
        if upload is None or upload.workspace_id != self.token.workspace_id:
            raise not_found(upload_id, self.integration, "file upload")
        gone = upload.expires_at <= self.world.clock.now() and not upload.attached
        status = "expired" if gone else upload.status
        if status != "uploaded":
            raise validation(
                f"File upload {upload_id} at {path} has status `{status}`, must be `uploaded`."
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer; ``resource`` and ``created`` feed the committed 503."""

    body: Any
    status: int = 200
    resource: str = ""
    created: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method and path template; ``{name}`` segments are path parameters."""

    method: str
    template: str
    act: Callable[[Call], Answer]
    needs: Access = "read"
    auth: Literal["bearer", "basic"] = "bearer"
    form: bool = False

    @property
    def label(self) -> str:
        """The name for counts and fault rules: ``PATCH /v1/blocks/{id}/children``."""
        parts = ["{id}" if part.startswith("{") else part for part in self.template.split("/")]
        return f"{self.method} /v1/{'/'.join(parts)}"


def page_size(asked: Any, path: str) -> int:
    """Parse a page size: missing or 0 means 100, more is refused."""
    if asked is None or asked == "":
        return MOST_ITEMS
    if isinstance(asked, str):
        try:
            asked = int(asked)
        except ValueError:
            fail(path, "a number or `undefined`", asked)
    if isinstance(asked, bool) or not isinstance(asked, int):
        fail(path, "a number or `undefined`", asked)
    if asked < 0:
        fail(path, "≥ `0` or `undefined`", asked)
    if asked > MOST_ITEMS:
        fail(path, f"≤ `{MOST_ITEMS}` or `undefined`", asked)
    return asked or MOST_ITEMS


def bad_cursor(cursor: object) -> Exception:
    """Return the error for a cursor that is not in this list."""
    return validation(f"The start_cursor provided is invalid: {cursor}")


def listed(kind: str, results: list[Json], next_cursor: str | None = None) -> Json:
    """Render a list object."""
    return {
        "object": "list",
        "results": results,
        "next_cursor": next_cursor,
        "has_more": next_cursor is not None,
        "type": kind,
        kind: {},
    }


def require(token: Token, access: Access) -> None:
    """Refuse a token that lacks a capability."""
    if access != "any" and access not in token.capabilities:
        raise plain(403, message="Insufficient permissions for this endpoint.")


def page_or_404(call: Call, page_id: str) -> Page:
    """Return a page; also a block's id raises the 404."""
    node = call.find(page_id, "page")
    if not isinstance(node, Page):
        raise not_found(page_id, call.integration, "page")
    return node
