"""Renders pages as HTML: an index at ``/``, each page at ``/p/{id}``, block ids as anchors.

All text from the world is escaped; links are followed only to web and mail addresses.
"""

from __future__ import annotations

from html import escape
from uuid import UUID

from aiohttp import web

from cloud_broker.sandbox.model import Block, Database, DataSource, Json, Node, Page
from cloud_broker.sandbox.view.style import LIVE, LIVE_HASH, page
from cloud_broker.sandbox.world import World

_SAFE = ("http://", "https://", "mailto:")
_MARKS = {"to_do": "☐", "bulleted_list_item": "•", "toggle": "▸", "numbered_list_item": "#"}
_TAGS = (
    ("code", "code"),
    ("bold", "b"),
    ("italic", "i"),
    ("strikethrough", "s"),
    ("underline", "u"),
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'sha256-"
    + LIVE_HASH
    + "'; connect-src 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """Serves the HTML view of one world."""

    def __init__(self, world: World) -> None:
        """Show ``world``."""
        self._world = world

    async def index(self, _: web.Request) -> web.Response:
        """Show all workspaces with their page trees."""
        parts = [
            "<h1>Sandbox Notion</h1><p class=note>A stand-in for Notion. Pages below are live.</p>"
        ]
        for workspace in self._world.workspaces.values():
            roots = [self._world.nodes[each] for each in self._world.roots[workspace.id]]
            parts.append(f"<h2>{escape(workspace.icon or '')} {escape(workspace.name)}</h2>")
            parts.append(self._branch(roots))
        return _html(page("Pages", "".join(parts)))

    async def show(self, request: web.Request) -> web.Response:
        """Show one page; with ``fragment`` only its blocks, or 204 when it is unchanged."""
        node = self._find(request.match_info["page_id"])
        if node is None:
            return _html(page("Not here", "<h1>There is no such page</h1>"), 404)
        revision = str(self._world.revisions.get(node.id, 0))
        headers = {"X-Revision": revision}
        if "fragment" in request.query:
            if request.query.get("since") == revision:
                return web.Response(status=204, headers=HEADERS)
            return _html(self._blocks(node), 200, headers)
        title = self._world.title_of(node) or "Untitled"
        icon = node.icon if isinstance(node, Page | Database | DataSource) else None
        trash = "<p class=note>In the trash.</p>" if self._world.in_trash(node) else ""
        body = f"""<p class="crumbs">{self._crumbs(node)}</p>
<h1>{_icon(icon)} {escape(title)}</h1>
<p class="note">{escape(node.id)} · <span id="live">live</span> ·
<a href="#" id="ids">show ids</a></p>{trash}
<div id="blocks" data-revision="{revision}">{self._blocks(node)}</div>"""
        return _html(page(title, body, LIVE), 200, headers)

    def _find(self, said: str) -> Node | None:
        try:
            node = self._world.nodes.get(str(UUID(said)))
        except ValueError:
            return None
        return None if node is None or isinstance(node, Block) else node

    def _branch(self, nodes: list[Node]) -> str:
        items = []
        for node in nodes:
            if node.trashed or isinstance(node, Block):
                continue
            below = self._branch(self._world.living(node))
            items.append(f"<li>{self._link(node)}{below}</li>")
        return f'<ul class="tree">{"".join(items)}</ul>' if items else ""

    def _link(self, node: Node) -> str:
        icon = node.icon if isinstance(node, Page | Database | DataSource) else None
        title = self._world.title_of(node) or "Untitled"
        return f'<a href="/p/{node.id}">{_icon(icon)} {escape(title)}</a>'

    def _crumbs(self, node: Node) -> str:
        above = [each for each in self._world.ancestry(node) if each is not node]
        links = [self._link(each) for each in reversed(above) if not isinstance(each, Block)]
        return " / ".join(['<a href="/">Pages</a>', *links])

    def _blocks(self, node: Node) -> str:
        kids = self._world.living(node)
        inner = "".join(self._block(each) for each in kids)
        return inner or "<p class=note>Nothing here yet.</p>"

    def _block(self, node: Node) -> str:
        kind = node.type if isinstance(node, Block) else "child_page"
        mark = f'<a class="id" href="#{node.id}">{node.id}</a>'
        if not isinstance(node, Block):
            return f'<div class="b {kind}" id="{node.id}">{self._link(node)}{mark}</div>'
        kids = self._world.living(node)
        if kind == "table":
            rows = "".join(self._row(each) for each in kids if isinstance(each, Block))
            return f'<div class="b {kind}" id="{node.id}">{mark}<table>{rows}</table></div>'
        below = "".join(self._block(each) for each in kids)
        wrap = "row" if kind == "column_list" else "kids"
        nested = f'<div class="{wrap}">{below}</div>' if below else ""
        return f'<div class="b {kind}" id="{node.id}">{_content(node)}{mark}{nested}</div>'

    def _row(self, row: Block) -> str:
        cells = "".join(f"<td>{_rich(cell)}</td>" for cell in row.body.get("cells", []))
        return f'<tr id="{row.id}">{cells}</tr>'


def _content(block: Block) -> str:
    body = block.body
    text = _rich(body.get("rich_text", []))
    match block.type:
        case "divider":
            return "<hr>"
        case "to_do":
            return f"{'☑' if body.get('checked') else '☐'} {text}"
        case "callout":
            return f"{_icon(body.get('icon'))} {text}"
        case "bookmark" | "embed":
            return f"🔗 {_anchor(str(body.get('url', '')), escape(str(body.get('url', ''))))}"
        case "equation":
            return f"<code>{escape(str(body.get('expression', '')))}</code>"
        case "image" | "video" | "audio" | "pdf" | "file":
            detail = body.get("external") or {}
            url = str(detail.get("url", "an uploaded file"))
            return f"[{block.type}] {_anchor(url, escape(url))}"
        case "synced_block":
            origin = body.get("synced_from")
            return "<span class=note>in step with another block</span>" if origin else ""
        case "column_list" | "column":
            return ""
        case kind if not text and kind not in _MARKS and "rich_text" not in body:
            return f"<span class=note>[{escape(kind)}]</span>"
        case kind:
            mark = _MARKS.get(kind, "▸" if body.get("is_toggleable") else "")
            return f"{mark} {text or '&nbsp;'}"


def _rich(runs: list[Json]) -> str:
    return "".join(_run(run) for run in runs)


def _run(run: Json) -> str:
    text = escape(run["plain_text"]).replace("\n", "<br>")
    style = run["annotations"]
    for name, tag in _TAGS:
        if style[name]:
            text = f"<{tag}>{text}</{tag}>"
    color = str(style["color"]).removesuffix("_background")
    if color != "default":
        text = f'<span class="color-{escape(color)}">{text}</span>'
    return _anchor(run["href"], text) if run["href"] else text


def _anchor(url: str, text: str) -> str:
    if not url.lower().startswith(_SAFE):
        return text
    return f'<a href="{escape(url)}" rel="noreferrer noopener">{text}</a>'


def _icon(icon: Json | None) -> str:
    if icon is None:
        return "📄"
    return escape(str(icon.get("emoji", "🖼️")))


def _html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        text=text, status=status, content_type="text/html", headers={**HEADERS, **(headers or {})}
    )
