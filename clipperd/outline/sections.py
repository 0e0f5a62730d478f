"""Finds the ends of sections, and headings by their text (pure)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import msgspec

from clipperd.outline.tree import Node, Tree

# First-level containers that are listed, one call each, to find headings in them.
_EXPANDED = frozenset({"column_list", "callout", "toggle", "synced_block"})


class Heading(msgspec.Struct, frozen=True):
    """One heading in display order.

    ``index`` counts headings of the page, ``position`` the blocks of its parent, both from 0.
    ``path`` holds the texts of the enclosing headings, outermost first, without its own.
    ``section_end_id`` is the last block of its section: itself when the section is empty, None
    for a toggle heading whose children were not listed.
    """

    id: str
    text: str
    level: int
    index: int
    position: int
    parent_id: str
    path: tuple[str, ...]
    toggleable: bool
    section_end_id: str | None


def headings(tree: Tree) -> list[Heading]:
    """Return all headings of the tree in display order, with those in listed containers."""
    found: list[Heading] = []
    for node, parent_id, position, path in _walk(tree, tree.page_id, (), frozenset()):
        found.append(
            Heading(
                id=node.id,
                text=node.text,
                level=node.level,
                index=len(found),
                position=position,
                parent_id=parent_id,
                path=path,
                toggleable=node.toggleable,
                section_end_id=section_end(tree, parent_id, position),
            )
        )
    return found


def section_end(tree: Tree, parent_id: str, position: int) -> str | None:
    """Return the last block of the section of the heading at ``position`` among its siblings."""
    siblings = tree.lists[parent_id]
    heading = siblings[position]
    if heading.toggleable:
        if not heading.has_children:
            return heading.id
        inside = tree.lists.get(heading.id, ())
        return inside[-1].id if inside else None
    return siblings[last_of_section(siblings, position)].id


def last_of_section(siblings: Sequence[Node], position: int) -> int:
    """Return the index of the last sibling before the next heading of this or a higher level."""
    level = siblings[position].level
    for index in range(position + 1, len(siblings)):
        if ends_section(siblings[index], level):
            return index - 1
    return len(siblings) - 1


def ends_section(node: Node, level: int) -> bool:
    """Return whether ``node`` is a heading of ``level`` or higher (a smaller number)."""
    return 0 < node.level <= level


def containers(tree: Tree, *, listed: bool | None = None) -> list[Node]:
    """Return blocks that may hold headings: all, those listed so far, or those not listed.

    These are toggle headings, columns, callouts, toggles and synced blocks of the first level, and
    the columns of a listed column list. Deeper ones would each cost a call.
    """
    first = [n for n in tree.top if n.has_children and (n.toggleable or n.type in _EXPANDED)]
    columns = [
        column
        for node in first
        if node.type == "column_list"
        for column in tree.lists.get(node.id, ())
        if column.has_children
    ]
    return [n for n in (*first, *columns) if listed is None or (n.id in tree.lists) is listed]


def named(found: Sequence[Heading], text: str, path: Sequence[str]) -> list[Heading]:
    """Return the headings with this text; if there are none, compare without case.

    ``path`` narrows the result: the texts of all enclosing headings or the innermost ones, with or
    without the heading's own text at the end.
    """
    for same in (_exact, _loose):
        wanted, enclosing = same(text), [same(p) for p in path]
        if enclosing and enclosing[-1] == wanted and len(enclosing) > 1:
            shapes = [enclosing, enclosing[:-1]]
        else:
            shapes = [enclosing]
        matches = [
            h
            for h in found
            if same(h.text) == wanted and any(_ends([same(p) for p in h.path], s) for s in shapes)
        ]
        if matches:
            return matches
    return []


def _ends(path: list[str], tail: list[str]) -> bool:
    return not tail or path[-len(tail) :] == tail


def _exact(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _loose(text: str) -> str:
    return _exact(text).casefold()


def _walk(
    tree: Tree, parent_id: str, enclosing: tuple[str, ...], above: frozenset[str]
) -> Iterator[tuple[Node, str, int, tuple[str, ...]]]:
    """Yield (heading, parent id, position, path); ``above`` guards against a damaged store."""
    open_: list[Node] = []  # headings of this list whose sections contain the current block
    for position, node in enumerate(tree.lists.get(parent_id, ())):
        if node.level:
            while open_ and ends_section(node, open_[-1].level):
                open_.pop()
            yield node, parent_id, position, (*enclosing, *(h.text for h in open_))
            open_.append(node)
        if node.id in tree.lists and node.id not in above:
            inside = (*enclosing, *(h.text for h in open_))
            yield from _walk(tree, node.id, inside, above | {parent_id, node.id})
        if node.toggleable:
            open_.pop()  # its section is its children, not its siblings
