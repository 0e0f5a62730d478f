"""Selects the few pages that a search ranks: all matches, or the newest of many.

Each query uses an index. Up to ``_PROBE`` matches are fetched one by one. More matches are so dense
that a walk over the pages from the newest one finds enough of them soon.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from clipperd.model import Scope
from clipperd.pages.entries import SIGNS, SPACELESS, WORDS, signs_of
from clipperd.pages.store import DATABASE, KINDS

_PROBE = 1000  # matches
_TIERS = 3  # one full-text query finds matches of three scores, so fetch three times as many
_GRAM = 3  # characters that a trigram index needs

_COLUMNS = "page.page_id, page.folded, page.last_edited_time"
_VISIBLE = "page.user_id = :user AND page.workspace_id = :workspace AND page.access = 'ok'"


class Candidate(NamedTuple):
    """A page to rank: its id, its case-folded title, its last edit (RFC 3339)."""

    page_id: str
    title: str
    edited: str


class SearchScope(msgspec.Struct, frozen=True):
    """The pages to search: ``kind`` as in lists ("" is every kind); stop at ``want`` pages."""

    connection: sqlite3.Connection
    scope: Scope
    kind: str
    want: int

    @property
    def visible(self) -> str:
        """The SQL condition for pages that the user may see."""
        return f"{_VISIBLE} AND {KINDS[self.kind]}"


def by_id(within: SearchScope, page_ids: Iterable[str]) -> list[Candidate]:
    """Return the visible pages among ``page_ids``."""
    return _ask(
        within,
        f"""SELECT {_COLUMNS} FROM json_each(:ids) AS wanted CROSS JOIN page
            WHERE page.page_id = wanted.value AND {within.visible}""",  # noqa: S608 (constants)
        ids=json.dumps(list(page_ids)),
    )


def exact(within: SearchScope, query: str) -> list[Candidate]:
    """Return pages whose title equals ``query``."""
    return _ask(
        within,
        f"SELECT {_COLUMNS} FROM page WHERE {within.visible} AND page.folded = :query LIMIT :most",  # noqa: S608 (constants)
        query=query,
        most=within.want,
    )


def prefix(within: SearchScope, query: str) -> list[Candidate]:
    """Return pages whose title begins with ``query``."""
    begun = f"""FROM page WHERE {within.visible}
        AND page.folded >= :query AND page.folded < :query || char(1114111)"""
    probe = f"SELECT count(*) FROM (SELECT 1 {begun} LIMIT :most)"  # noqa: S608 (constants)
    if _rows(within, probe, query=query, most=_PROBE + 1)[0][0] > _PROBE:
        return _newest(within, "instr(page.folded, :query) = 1", within.want, query=query)
    found = _ask(within, f"SELECT {_COLUMNS} {begun}", query=query)
    return _freshest(found, within.want)


def words(within: SearchScope, words: Sequence[str]) -> list[Candidate]:
    """Return pages whose title has a word that begins with each of ``words``."""
    return _matching(within, "title : (" + _all_of(words) + ")", _TIERS * within.want)


def path(within: SearchScope, words: Sequence[str]) -> list[Candidate]:
    """Return pages with each of ``words`` in the title or the titles of their ancestors."""
    return _matching(within, f"{{title path}} : ({_all_of(words)})", _TIERS * within.want)


def fuzzy(
    within: SearchScope, choices: Sequence[Sequence[str]], *, in_paths: bool = False
) -> list[Candidate]:
    """Return pages whose title has one of the ``choices`` for each word.

    The first choice matches as a prefix, the others as whole words. ``in_paths`` also searches the
    titles of the ancestors.
    """
    parts = []
    for word, *others in choices:
        parts.append("(" + " OR ".join([f'"{word}"*', *(f'"{other}"' for other in others)]) + ")")
    wanted = " AND ".join(parts)
    return _matching(within, f"{{title{' path' if in_paths else ''}}} : ({wanted})", within.want)


def infix(within: SearchScope, query: str) -> list[Candidate]:
    """Return pages whose title contains ``query``, also inside words or without spaces."""
    if len(query) >= _GRAM:
        phrase = 'title : "' + query.replace('"', '""') + '"'
        return _matching(within, phrase, within.want, table="page_grams")
    runs = [_run(run) for run in SPACELESS.findall(query)]
    if not WORDS.search(query):
        runs = ['"' + " ".join(signs_of(run)) + '"' for run in SIGNS.findall(query)]
    if not runs:
        return []
    return _matching(within, " AND ".join(f"runs : {run}" for run in runs), within.want)


def _run(run: str) -> str:
    """Return the query for a run of a script without spaces: its pairs, or a prefix of one."""
    if len(run) == 1:
        return f'"{run}"*'
    return '"' + " ".join(run[at : at + 2] for at in range(len(run) - 1)) + '"'


def _all_of(words: Sequence[str]) -> str:
    return " ".join(f'"{word}"*' for word in words)


def _freshest(found: list[Candidate], most: int) -> list[Candidate]:
    if len(found) <= most:
        return found
    return sorted(found, key=attrgetter("edited"), reverse=True)[:most]


def _matching(
    within: SearchScope, wanted: str, most: int, *, table: str = "page_words"
) -> list[Candidate]:
    """Return the newest ``most`` pages for a full-text query."""
    if within.kind in ("database", "data_source"):
        wanted = f'kind : "{DATABASE}" AND ({wanted})'
    matches = f"SELECT rowid FROM {table} WHERE {table} MATCH :wanted"  # noqa: S608 (constants)
    keys = {"wanted": wanted, "most": _PROBE + 1}
    rows = [seq for (seq,) in within.connection.execute(f"{matches} LIMIT :most", keys)]
    if len(rows) > _PROBE:
        return _newest(within, f"page.seq IN ({matches})", most, wanted=wanted)
    # CROSS JOIN: SQLite keeps this join order, so it looks up these rows only.
    found = _ask(
        within,
        f"""SELECT {_COLUMNS} FROM json_each(:rows) AS wanted CROSS JOIN page
            WHERE page.seq = wanted.value AND {within.visible}""",  # noqa: S608 (constants)
        rows=json.dumps(rows),
    )
    return _freshest(found, most)


def _newest(within: SearchScope, condition: str, most: int, **keys: str) -> list[Candidate]:
    # Few entries are databases, so they have an index of their own.
    index = "page_recent" if within.kind in ("", "page") else "page_kind"
    return _ask(
        within,
        f"""SELECT {_COLUMNS} FROM page INDEXED BY {index} WHERE {within.visible} AND {condition}
            ORDER BY page.last_edited_time DESC, page.page_id DESC LIMIT :most""",  # noqa: S608 (constants)
        **keys,
        most=most,
    )


def _ask(within: SearchScope, sql: str, **keys: str | int) -> list[Candidate]:
    return list(map(Candidate._make, _rows(within, sql, **keys)))


def _rows(within: SearchScope, sql: str, **keys: str | int) -> list[sqlite3.Row]:
    scope = {"user": within.scope.user_id, "workspace": within.scope.workspace_id}
    return within.connection.execute(sql, {**scope, **keys}).fetchall()
