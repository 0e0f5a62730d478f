"""The few pages that a search has to rank: what matches, or the newest of it where much does.

Each question is put to an index. Up to ``_PROBE`` answers are fetched one by one; where there are
more, they are so dense that walking the pages from the newest on meets enough of them soon.
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

_PROBE = 1000
_TIERS = 3  # matches found alike that are worth unequally: so many times more are ranked
_GRAM = 3  # a trigram index answers from three characters on

_COLUMNS = "page.page_id, page.folded, page.last_edited_time"
_MINE = "page.user_id = :user AND page.workspace_id = :workspace AND page.access = 'ok'"


class Candidate(NamedTuple):
    """A page to rank: its id, its folded title, when it was last edited (RFC 3339)."""

    page_id: str
    title: str
    edited: str


class CandidateQuery(msgspec.Struct, frozen=True):
    """Where is looked: ``kind`` as in lists ("" is every kind); ``want`` pages are enough."""

    connection: sqlite3.Connection
    scope: Scope
    kind: str
    want: int

    @property
    def mine(self) -> str:
        """The condition that keeps what is not to be seen out."""
        return f"{_MINE} AND {KINDS[self.kind]}"


def by_id(look: CandidateQuery, page_ids: Iterable[str]) -> list[Candidate]:
    """Those of ``page_ids`` that can be shown."""
    return _ask(
        look,
        f"""SELECT {_COLUMNS} FROM json_each(:ids) AS wanted CROSS JOIN page
            WHERE page.page_id = wanted.value AND {look.mine}""",  # noqa: S608 (constants)
        ids=json.dumps(list(page_ids)),
    )


def exact(look: CandidateQuery, query: str) -> list[Candidate]:
    """Pages whose whole title is ``query``."""
    return _ask(
        look,
        f"SELECT {_COLUMNS} FROM page WHERE {look.mine} AND page.folded = :query LIMIT :most",  # noqa: S608 (constants)
        query=query,
        most=look.want,
    )


def prefix(look: CandidateQuery, query: str) -> list[Candidate]:
    """Pages whose title begins with ``query``."""
    begun = f"""FROM page WHERE {look.mine}
        AND page.folded >= :query AND page.folded < :query || char(1114111)"""
    probe = f"SELECT count(*) FROM (SELECT 1 {begun} LIMIT :most)"  # noqa: S608 (constants)
    if _rows(look, probe, query=query, most=_PROBE + 1)[0][0] > _PROBE:
        return _newest(look, "instr(page.folded, :query) = 1", look.want, query=query)
    found = _ask(look, f"SELECT {_COLUMNS} {begun}", query=query)
    return _freshest(found, look.want)


def words(look: CandidateQuery, words: Sequence[str]) -> list[Candidate]:
    """Pages whose title has a word that begins with each of ``words``."""
    return _matching(look, "title : (" + _all_of(words) + ")", _TIERS * look.want)


def path(look: CandidateQuery, words: Sequence[str]) -> list[Candidate]:
    """Pages with each of ``words`` in the title or in the titles above it."""
    return _matching(look, f"{{title path}} : ({_all_of(words)})", _TIERS * look.want)


def fuzzy(
    look: CandidateQuery, choices: Sequence[Sequence[str]], *, in_paths: bool = False
) -> list[Candidate]:
    """Pages whose title has one of each word's ``choices``: the first may go on, others are whole.

    ``in_paths``: the title or the titles above it.
    """
    parts = []
    for word, *others in choices:
        parts.append("(" + " OR ".join([f'"{word}"*', *(f'"{other}"' for other in others)]) + ")")
    wanted = " AND ".join(parts)
    return _matching(look, f"{{title{' path' if in_paths else ''}}} : ({wanted})", look.want)


def infix(look: CandidateQuery, query: str) -> list[Candidate]:
    """Pages whose title holds ``query`` anywhere: the middle of a word, scripts without spaces."""
    if len(query) >= _GRAM:
        phrase = 'title : "' + query.replace('"', '""') + '"'
        return _matching(look, phrase, look.want, table="page_grams")
    runs = [_run(run) for run in SPACELESS.findall(query)]
    if not WORDS.search(query):
        runs = ['"' + " ".join(signs_of(run)) + '"' for run in SIGNS.findall(query)]
    if not runs:
        return []
    return _matching(look, " AND ".join(f"runs : {run}" for run in runs), look.want)


def _run(run: str) -> str:
    """A run of a script without spaces: its pairs, side by side; one character begins a pair."""
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
    look: CandidateQuery, wanted: str, most: int, *, table: str = "page_words"
) -> list[Candidate]:
    """The newest ``most`` pages for a full-text query."""
    if look.kind in ("database", "data_source"):
        wanted = f'kind : "{DATABASE}" AND ({wanted})'
    matches = f"SELECT rowid FROM {table} WHERE {table} MATCH :wanted"  # noqa: S608 (constants)
    keys = {"wanted": wanted, "most": _PROBE + 1}
    rows = [seq for (seq,) in look.connection.execute(f"{matches} LIMIT :most", keys)]
    if len(rows) > _PROBE:
        return _newest(look, f"page.seq IN ({matches})", most, wanted=wanted)
    # CROSS JOIN: SQLite keeps that order, so these rows are looked up and not every page.
    found = _ask(
        look,
        f"""SELECT {_COLUMNS} FROM json_each(:rows) AS wanted CROSS JOIN page
            WHERE page.seq = wanted.value AND {look.mine}""",  # noqa: S608 (constants)
        rows=json.dumps(rows),
    )
    return _freshest(found, most)


def _newest(look: CandidateQuery, condition: str, most: int, **keys: str) -> list[Candidate]:
    # Few pages are databases, so these have an index; nearly all are pages.
    index = "page_recent" if look.kind in ("", "page") else "page_kind"
    return _ask(
        look,
        f"""SELECT {_COLUMNS} FROM page INDEXED BY {index} WHERE {look.mine} AND {condition}
            ORDER BY page.last_edited_time DESC, page.page_id DESC LIMIT :most""",  # noqa: S608 (constants)
        **keys,
        most=most,
    )


def _ask(look: CandidateQuery, sql: str, **keys: str | int) -> list[Candidate]:
    return list(map(Candidate._make, _rows(look, sql, **keys)))


def _rows(look: CandidateQuery, sql: str, **keys: str | int) -> list[sqlite3.Row]:
    scope = {"user": look.scope.user_id, "workspace": look.scope.workspace_id}
    return look.connection.execute(sql, {**scope, **keys}).fetchall()
