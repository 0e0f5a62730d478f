"""Edits the world as users do in the app: pure operations."""

from __future__ import annotations

from cloud_broker.sandbox.control.bodies import EditBody, PageBody
from cloud_broker.sandbox.errors import ControlError
from cloud_broker.sandbox.model import Block, DataSource, Json, Node, Page, Parent
from cloud_broker.sandbox.outline import block_of, read_outline
from cloud_broker.sandbox.render import NEW, Renderer
from cloud_broker.sandbox.shapes.properties import TITLE_ONLY, empty_properties
from cloud_broker.sandbox.shapes.rich_text import text_runs
from cloud_broker.sandbox.world import World


def make_page(world: World, body: PageBody) -> Page:
    """Create a page with an outline, as a user, in a page, a data source or a workspace."""
    above = body.data_source_id or body.parent_id
    parent = None if above is None else known(world, above)
    workspace_id = body.workspace_id or next(iter(world.workspaces))
    where = Parent("workspace", "")
    schema = TITLE_ONLY
    if parent is not None:
        workspace_id = parent.workspace_id
        where = Parent("page_id", parent.id)
        if isinstance(parent, DataSource):
            where, schema = Parent("data_source_id", parent.id), parent.schema
    if workspace_id not in world.workspaces:
        raise ControlError(f"There is no workspace {workspace_id}.")
    if body.id is not None and body.id in world.nodes:
        raise ControlError(f"There is already something with the id {body.id}.")
    user_id = person(world, body.user_id, workspace_id)
    properties = empty_properties(schema)
    _title(properties)["title"] = text_runs(body.title)
    now = world.clock.now()
    page = Page(
        id=body.id or world.new_id(),
        workspace_id=workspace_id,
        parent=where,
        created_at=now,
        edited_at=now,
        created_by=user_id,
        edited_by=user_id,
        properties=properties,
        icon=None if body.icon is None else {"type": "emoji", "emoji": body.icon},
    )
    world.create_page(page, user_id)
    text = body.outline if isinstance(body.outline, str) else "\n".join(body.outline)
    world.create_blocks(page, read_outline(text), user_id)
    return page


def edit(world: World, body: EditBody) -> Node:
    """Apply one edit as a user and return the edited node. Raises ControlError."""
    operation = _OPERATIONS.get(body.op)
    if operation is None:
        raise ControlError(f"There is no op {body.op!r}. Known: {', '.join(_OPERATIONS)}.")
    return operation(world, body)


def tree(world: World, node: Node) -> list[Json]:
    """Render the subtree of ``node`` without trash, each block with its ``children``."""
    render = Renderer(world, NEW)
    shown: list[Json] = []
    for child in world.living(node):
        block = render.block(child)
        if not isinstance(child, Page):
            block["children"] = tree(world, child)
        shown.append(block)
    return shown


def known(world: World, node_id: str | None) -> Node:
    """Return a node by its id. Raises ControlError."""
    node = world.nodes.get(node_id or "")
    if node is None:
        raise ControlError(f"There is no page or block {node_id}.")
    return node


def person(world: World, user_id: str | None, workspace_id: str) -> str:
    """Return ``user_id``, or the first member of the workspace. Raises ControlError."""
    chosen = user_id or world.workspaces[workspace_id].members[0]
    if chosen not in world.users:
        raise ControlError(f"There is no user {chosen}.")
    return chosen


def _insert(world: World, body: EditBody) -> Node:
    parent = known(world, body.parent_id or body.page_id)
    actor = person(world, body.user_id, parent.workspace_id)
    index = _index(parent, body, None)
    drafts = read_outline(body.text or "") or [block_of("")]
    return world.create_blocks(parent, drafts, actor, index)[0]


def _delete(world: World, body: EditBody) -> Node:
    node = known(world, body.block_id or body.page_id)
    world.trash(node, person(world, body.user_id, node.workspace_id))
    return node


def _restore(world: World, body: EditBody) -> Node:
    node = known(world, body.block_id or body.page_id)
    world.restore(node, person(world, body.user_id, node.workspace_id))
    return node


def _update(world: World, body: EditBody) -> Node:
    node = known(world, body.block_id)
    if not isinstance(node, Block) or "rich_text" not in node.body:
        raise ControlError("Only blocks with text can be updated.")
    changed = {**node.body, "rich_text": text_runs(body.text or "")}
    world.update_block(node, changed, person(world, body.user_id, node.workspace_id))
    return node


def _move(world: World, body: EditBody) -> Node:
    node = known(world, body.block_id)
    parent = known(world, body.parent_id or body.page_id or node.parent.id)
    if any(each is node for each in world.ancestry(parent)):
        raise ControlError("A block cannot move into itself.")
    actor = person(world, body.user_id, node.workspace_id)
    index = _index(parent, body, node)
    end = len(parent.children) - (node.id in parent.children)
    world.move(node, parent, end if index is None else index, actor)
    return node


def _rename(world: World, body: EditBody) -> Node:
    page = known(world, body.page_id)
    if not isinstance(page, Page):
        raise ControlError("Only pages can be renamed.")
    name, value = next((n, v) for n, v in page.properties.items() if v["type"] == "title")
    actor = person(world, body.user_id, page.workspace_id)
    world.set_page(page, actor, {name: {**value, "title": text_runs(body.text or "")}})
    return page


def _index(parent: Node, body: EditBody, moved: Node | None) -> int | None:
    """Return the index of the block among the parent's children (without ``moved``)."""
    kids = [each for each in parent.children if moved is None or each != moved.id]
    if body.after is not None:
        if body.after not in kids:
            raise ControlError(f"{body.after} is not a child of {parent.id}.")
        return kids.index(body.after) + 1
    if body.position not in ("start", "end"):
        raise ControlError("position is start or end.")
    return 0 if body.position == "start" else None


def _title(properties: dict[str, Json]) -> Json:
    return next(value for value in properties.values() if value["type"] == "title")


_OPERATIONS = {
    "insert": _insert,
    "delete": _delete,
    "trash": _delete,
    "restore": _restore,
    "update": _update,
    "move": _move,
    "rename": _rename,
}
