"""Defines the objects of the sandbox's world: nodes, users, tokens, uploads and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Json = dict[str, Any]
ParentKind = Literal["workspace", "page_id", "block_id", "database_id", "data_source_id"]
ALL_CAPABILITIES = frozenset({"read", "insert", "update", "read_users"})
# Block types whose children clients may list and extend.
HOLDS_CHILDREN = frozenset(
    {
        "paragraph",
        "bulleted_list_item",
        "numbered_list_item",
        "to_do",
        "toggle",
        "quote",
        "callout",
        "synced_block",
        "column_list",
        "column",
        "table",
        "tab",
        "template",
    }
)
HEADINGS = frozenset({"heading_1", "heading_2", "heading_3", "heading_4"})


class Parent(NamedTuple):
    """The parent of a node; ``id`` is empty for the workspace itself."""

    kind: ParentKind
    id: str


@dataclass(slots=True, kw_only=True)
class Node:
    """An object with an id in the tree. Times are exact here and rounded when rendered."""

    id: str
    workspace_id: str
    parent: Parent
    created_at: float
    edited_at: float
    created_by: str
    edited_by: str
    children: list[str] = field(default_factory=list)
    trashed: bool = False


@dataclass(slots=True, kw_only=True)
class Block(Node):
    """A block; ``body`` is its payload in response form, without children."""

    type: str
    body: Json


@dataclass(slots=True, kw_only=True)
class Page(Node):
    """A page or a row; ``properties`` maps names to property values in response form."""

    properties: dict[str, Json]
    icon: Json | None = None
    cover: Json | None = None
    locked: bool = False
    # (time, title, edited_at) of each change that search shows, oldest first.
    history: list[tuple[float, str, float]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class DataSource(Node):
    """A table of a database; ``schema`` maps property names to their configuration."""

    title: str
    schema: dict[str, Json]
    icon: Json | None = None


@dataclass(slots=True, kw_only=True)
class Database(Node):
    """A container of data sources (its children), shown as a child_database block."""

    title: str
    icon: Json | None = None
    inline: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """A human user, or the bot of one authorization."""

    id: str
    kind: Literal["person", "bot"]
    name: str
    email: str = ""
    avatar_url: str | None = None
    workspace_id: str = ""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace and its members."""

    id: str
    name: str
    icon: str | None
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Integration:
    """A registered OAuth client with the name that users see."""

    client_id: str
    client_secret: str
    name: str


@dataclass(slots=True)
class Token:
    """One authorization of an integration, with its token pair."""

    access: str
    refresh: str | None
    bot_id: str
    workspace_id: str
    user_id: str
    client_id: str
    issued_at: float
    capabilities: frozenset[str] = ALL_CAPABILITIES
    ends_at: float | None = None
    refresh_ends_at: float | None = None


@dataclass(slots=True)
class Code:
    """An authorization code for a single use within ten minutes."""

    value: str
    client_id: str
    user_id: str
    workspace_id: str
    redirect_uri: str | None
    issued_at: float


@dataclass(slots=True)
class Upload:
    """A file upload from creation to its attachment or its expiry one hour later."""

    id: str
    workspace_id: str
    created_by: str
    created_at: float
    mode: str
    filename: str
    content_type: str
    status: str
    expires_at: float
    number_of_parts: int = 1
    parts: dict[int, bytes] = field(default_factory=dict)
    attached: bool = False

    def data(self) -> bytes:
        """Return the received parts, joined."""
        return b"".join(self.parts[n] for n in sorted(self.parts))


@dataclass(frozen=True, slots=True)
class Draft:
    """A validated block that is not created yet; ``body`` in response form."""

    type: str
    body: Json
    children: tuple[Draft, ...] = ()

    def count(self) -> int:
        """Return the number of blocks, with nested ones."""
        return 1 + sum(child.count() for child in self.children)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the world, for webhooks and the HTML view."""

    type: str  # Notion's event type, such as "page.content_updated"
    entity_id: str
    entity: str  # page | data_source | database | file_upload
    workspace_id: str
    actor_id: str
    at: float
    blocks: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()


@dataclass(slots=True)
class Config:
    """The settings of ``/_sandbox/config``; None means no limit or never."""

    rate_per_token: int | None = 180
    rate_per_integration: int | None = None
    rate_per_workspace: int | None = None
    window_s: float = 60.0
    burst: int | None = None
    refresh_tokens: bool = True
    refresh_rotation: bool = True
    old_pair_grace_s: float = 0.0
    token_ttl_s: float | None = None
    search_lag_s: float = 0.0
    oauth_error_shape: str = "notion"
    normalize_text: bool = True
    block_limit: int | None = None
    webhook_attempts: int = 8
    webhook_backoff_s: float = 10.0

    def update(self, values: Mapping[str, Any]) -> None:
        """Change the named settings; the caller has checked names and types."""
        for name, value in values.items():
            setattr(self, name, value)
