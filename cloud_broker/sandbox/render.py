"""Renders the world's objects as Notion's JSON, in the two supported versions.

Differences (https://developers.notion.com/guides/get-started/upgrade-guide-2026-03-11):
the earlier has ``archived`` beside ``in_trash``, and ``transcription`` for ``meeting_notes``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_broker.clock import rfc3339
from cloud_broker.sandbox.clock import minute
from cloud_broker.sandbox.model import (
    Block,
    Database,
    DataSource,
    Json,
    Node,
    Page,
    Token,
    Upload,
    User,
)
from cloud_broker.sandbox.shapes.rich_text import text_runs
from cloud_broker.sandbox.world import World

OLD = "2025-09-03"
NEW = "2026-03-11"
VERSIONS = (OLD, NEW)
FILE_URL_S = 3600  # https://developers.notion.com/docs/retrieving-files


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders nodes of one world for one API version."""

    world: World
    version: str
    base_url: str = ""

    def any(self, node: Node) -> Json:
        """Render a node as an object of its kind."""
        if isinstance(node, Page):
            return self.page(node)
        if isinstance(node, DataSource):
            return self.data_source(node)
        if isinstance(node, Database):
            return self.database(node)
        return self.block(node)

    def block(self, node: Node) -> Json:
        """Render a node as a block: pages and databases show as child_page, child_database."""
        shown = self._common(node, "block")
        kind, body = self._payload(node)
        shown["has_children"] = bool(
            self._source(node).children and self.world.living(self._source(node))
        )
        shown["type"] = kind
        shown[kind] = body
        return shown

    def page(self, page: Page) -> Json:
        """Render a page object."""
        return {
            **self._common(page, "page"),
            "is_archived": False,
            "is_locked": page.locked,
            "icon": self._shown_file(page.icon),
            "cover": self._shown_file(page.cover),
            "properties": {
                name: self._property(page, value) for name, value in page.properties.items()
            },
            "url": page_url(self.world.title_of(page), page.id),
            "public_url": None,
        }

    def database(self, database: Database) -> Json:
        """Render a database: since 2025-09-03 the container of its data sources."""
        sources = [self.world.nodes[each] for each in database.children]
        return {
            **self._common(database, "database"),
            "title": text_runs(database.title),
            "description": [],
            "icon": database.icon,
            "cover": None,
            "is_inline": database.inline,
            "is_locked": False,
            "data_sources": [
                {"id": source.id, "name": self.world.title_of(source)}
                for source in sources
                if not source.trashed
            ],
            "url": page_url(database.title, database.id),
            "public_url": None,
        }

    def data_source(self, source: DataSource) -> Json:
        """Render a data source: the table with its schema."""
        database = self.world.nodes[source.parent.id]
        return {
            **self._common(source, "data_source"),
            "title": text_runs(source.title),
            "description": [],
            "icon": source.icon,
            "cover": None,
            "is_inline": isinstance(database, Database) and database.inline,
            "properties": source.schema,
            "database_parent": self._parent(database),
            "url": page_url(source.title, database.id),
            "public_url": None,
        }

    def user(self, user: User) -> Json:
        """Render a human user or a bot."""
        shown: Json = {
            "object": "user",
            "id": user.id,
            "type": user.kind,
            "name": user.name,
            "avatar_url": user.avatar_url,
        }
        if user.kind == "person":
            shown["person"] = {"email": user.email, "email_verified": True}
        else:
            shown["bot"] = {}
        return shown

    def me(self, token: Token) -> Json:
        """Render the token's own bot with its owner, as GET /users/me does."""
        workspace = self.world.workspaces[token.workspace_id]
        shown = self.user(self.world.users[token.bot_id])
        shown["bot"] = {
            "owner": {"type": "user", "user": self.user(self.world.users[token.user_id])},
            "workspace_id": workspace.id,
            "workspace_name": workspace.name,
            "workspace_limits": {"max_file_upload_size_in_bytes": 5 * 1024 * 1024},
        }
        return shown

    def upload(self, upload: Upload) -> Json:
        """Render a file upload."""
        url = f"{self.base_url}/v1/file_uploads/{upload.id}"
        ended = upload.status == "pending" and upload.expires_at <= self.world.clock.now()
        shown: Json = {
            "object": "file_upload",
            "id": upload.id,
            "created_time": rfc3339(upload.created_at),
            "created_by": {"id": upload.created_by, "type": "bot"},
            "last_edited_time": rfc3339(upload.created_at),
            "expiry_time": None if upload.attached else rfc3339(upload.expires_at),
            "in_trash": False,
            "status": "expired" if ended else upload.status,
            "filename": upload.filename,
            "content_type": upload.content_type,
            "content_length": len(upload.data()) if upload.parts else None,
        }
        if upload.status == "pending":
            shown["upload_url"] = f"{url}/send"
            if upload.mode == "multi_part":
                shown["complete_url"] = f"{url}/complete"
                sent = len(upload.parts)
                shown["number_of_parts"] = {"total": upload.number_of_parts, "sent": sent}
        if self.version == OLD:
            shown["archived"] = False
        return shown

    def _common(self, node: Node, kind: str) -> Json:
        trashed = self.world.in_trash(node)
        shown: Json = {
            "object": kind,
            "id": node.id,
            "parent": self._parent(node),
            "created_time": minute(node.created_at),
            "last_edited_time": minute(node.edited_at),
            "created_by": {"object": "user", "id": node.created_by},
            "last_edited_by": {"object": "user", "id": node.edited_by},
            "in_trash": trashed,
        }
        if self.version == OLD:
            shown["archived"] = trashed
        return shown

    def _parent(self, node: Node) -> Json:
        kind, parent_id = node.parent
        if kind == "workspace":
            return {"type": "workspace", "workspace": True}
        shown: Json = {"type": kind, kind: parent_id}
        if kind == "data_source_id":
            shown["database_id"] = self.world.nodes[parent_id].parent.id
        return shown

    def _payload(self, node: Node) -> tuple[str, Json]:
        if isinstance(node, Page):
            return "child_page", {"title": self.world.title_of(node)}
        if not isinstance(node, Block):
            return "child_database", {"title": self.world.title_of(node)}
        if node.type == "meeting_notes" and self.version == OLD:
            return "transcription", node.body
        return node.type, self._files(node.body)

    def _source(self, node: Node) -> Node:
        """Return the node that holds the children: the original of a synced copy."""
        if isinstance(node, Block) and node.type == "synced_block":
            origin = node.body["synced_from"]
            if origin is not None:
                return self.world.nodes.get(origin["block_id"], node)
        return node

    def _files(self, body: Json) -> Json:
        """Render attached uploads as files whose URL expires in an hour."""
        icon = body.get("icon")
        if isinstance(icon, dict):
            body = {**body, "icon": self._file(icon)}
        return self._file(body)

    def _shown_file(self, value: Json | None) -> Json | None:
        return None if value is None else self._file(value)

    def _file(self, value: Json) -> Json:
        if value.get("type") != "file_upload":
            return value
        rest = {key: each for key, each in value.items() if key not in ("type", "file_upload")}
        upload_id = value["file_upload"]["id"]
        ends = self.world.clock.now() + FILE_URL_S
        url = f"{self.base_url}/_sandbox/files/{upload_id}?expires={int(ends)}"
        return {**rest, "type": "file", "file": {"url": url, "expiry_time": rfc3339(ends)}}

    def _property(self, page: Page, value: Json) -> Json:
        """Fill in computed values."""
        match value["type"]:
            case "created_time":
                return {**value, "created_time": minute(page.created_at)}
            case "last_edited_time":
                return {**value, "last_edited_time": minute(page.edited_at)}
            case "created_by":
                return {**value, "created_by": {"object": "user", "id": page.created_by}}
            case "last_edited_by":
                return {**value, "last_edited_by": {"object": "user", "id": page.edited_by}}
            case "files":
                return {**value, "files": [self._file(each) for each in value["files"]]}
            case _:
                return value


def page_url(title: str, node_id: str) -> str:
    """Return the URL in the app: words of the title, then 32 hexadecimal digits."""
    words = "-".join(re.findall(r"[A-Za-z0-9]+", title))
    return f"https://app.notion.com/p/{words + '-' if words else ''}{node_id.replace('-', '')}"
