"""The few pages that a search has to rank: what matches, or the newest of it where much does.

Each question is put to an index and stops after ``_PROBE`` answers. When there are more, the
matches are so dense that walking the pages from the newest on meets enough of them soon.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from clipperd.model import Scope
from clipperd.pages.entries import SPACELESS

_PROBE = 1000
_TIERS = 3  # matches found alike that are worth unequally: so many times more are ranked
_GRAM = 3  # a trigram index answers from three characters on

_COLUMNS = "page.page_id, page.folded, page.last_edited_time"
_MINE = """page.user_id = :user AND page.workspace_id = :workspace AND page.access = 'ok'
    AND (:kind = '' OR page.kind = :kind OR (:kind = 'database' AND page.kind = 'data_source'))"""


class Candidate(NamedTuple):
    """A page to rank: its id, its folded title, when it was last edited (RFC 3339)."""

    page_id: str
    title: str
    edited: str


class Look(msgspec.Struct, frozen=True):
    """Where is looked: ``kind`` as in lists ("" is every kind); ``want`` pages are enough."""

    connection: sqlite3.Connection
    scope: Scope
    kind: str
    want: int


def known(look: Look, page_ids: Iterable[str]) -> list[Candidate]:
    """Those of ``page_ids`` that can be shown."""
    return _ask(
        look,
        f"""SELECT {_COLUMNS} FROM json_each(:ids) AS wanted CROSS JOIN page
            WHERE page.page_id = wanted.value AND {_MINE}""",  # noqa: S608 (constants)
        ids=json.dumps(list(page_ids)),
    )


def titled(look: Look, query: str) -> list[Candidate]:
    """Pages whose whole title is ``query``."""
    return _ask(
        look,
        f"SELECT {_COLUMNS} FROM page WHERE {_MINE} AND page.folded = :query LIMIT :most",  # noqa: S608 (constants)
        query=query,
        most=look.want,
    )


def beginning(look: Look, query: str) -> list[Candidate]:
    """Pages whose title begins with ``query``."""
    found = _ask(
        look,
        f"""SELECT {_COLUMNS} FROM page
            WHERE {_MINE} AND page.folded >= :query AND page.folded < :query || char(1114111)
            LIMIT :most""",  # noqa: S608 (constants)
        query=query,
        most=_PROBE + 1,
    )
    if len(found) <= _PROBE:
        return _freshest(found, look.want)
    return _newest(look, "instr(page.folded, :query) = 1", query=query)


def worded(look: Look, words: Sequence[str]) -> list[Candidate]:
    """Pages whose title has a word that begins with each of ``words``."""
    found = _matching(look, "title : (" + _all_of(words) + ")")
    if len(found) <= _PROBE:
        return _freshest(found, _TIERS * look.want)
    keys = {f"word{number}": f" {word}" for number, word in enumerate(words)}
    holds = " AND ".join(f"instr(' ' || page.folded, :{name}) > 0" for name in keys)
    return _newest(look, holds, **keys)


def below(look: Look, words: Sequence[str]) -> list[Candidate]:
    """Pages with each of ``words`` in the title or in the titles above it; some, where many."""
    return _freshest(_matching(look, _all_of(words)), _TIERS * look.want)


def spelt(
    look: Look, choices: Sequence[Sequence[str]], *, in_paths: bool = False
) -> list[Candidate]:
    """Pages whose title has one of each word's ``choices``: the first may go on, others are whole.

    ``in_paths``: the title or the titles above it.
    """
    parts = []
    for word, *others in choices:
        parts.append("(" + " OR ".join([f'"{word}"*', *(f'"{other}"' for other in others)]) + ")")
    wanted = " AND ".join(parts)
    found = _matching(look, wanted if in_paths else f"title : ({wanted})")
    return _freshest(found, look.want)


def containing(look: Look, query: str) -> list[Candidate]:
    """Pages whose title holds ``query`` anywhere: the middle of a word, scripts without spaces."""
    if len(query) >= _GRAM:
        found = _matching(look, '"' + query.replace('"', '""') + '"', table="page_grams")
    elif SPACELESS.search(query):
        found = _matching(look, " AND ".join(_run(run) for run in SPACELESS.findall(query)))
    else:
        return []
    return _freshest(found, look.want) if len(found) <= _PROBE else holding(look, query)


def holding(look: Look, query: str) -> list[Candidate]:
    """The same without an index: the newest pages whose title holds ``query``."""
    return _newest(look, "instr(page.folded, :query) > 0", query=query)


def _run(run: str) -> str:
    """A run of a script without spaces: its pairs, side by side; one character begins a pair."""
    if len(run) == 1:
        return f'runs : "{run}"*'
    return 'runs : "' + " ".join(run[at : at + 2] for at in range(len(run) - 1)) + '"'


def _all_of(words: Sequence[str]) -> str:
    return " ".join(f'"{word}"*' for word in words)


def _freshest(found: list[Candidate], most: int) -> list[Candidate]:
    if len(found) <= most:
        return found
    return sorted(found, key=attrgetter("edited"), reverse=True)[:most]


def _matching(look: Look, wanted: str, *, table: str = "page_words") -> list[Candidate]:
    # CROSS JOIN: SQLite keeps that order, so the words are looked up once and not for every page.
    return _ask(
        look,
        f"""SELECT {_COLUMNS} FROM {table} CROSS JOIN page ON page.seq = {table}.rowid
            WHERE {table} MATCH :wanted AND {_MINE} LIMIT :most""",  # noqa: S608 (constants)
        wanted=wanted,
        most=_PROBE + 1,
    )


def _newest(look: Look, condition: str, **keys: str) -> list[Candidate]:
    return _ask(
        look,
        f"""SELECT {_COLUMNS} FROM page INDEXED BY page_recent WHERE {_MINE} AND {condition}
            ORDER BY page.last_edited_time DESC, page.page_id DESC LIMIT :most""",  # noqa: S608 (constants)
        **keys,
        most=look.want,
    )


def _ask(look: Look, sql: str, **keys: str | int) -> list[Candidate]:
    scope = {"user": look.scope.user_id, "workspace": look.scope.workspace_id, "kind": look.kind}
    return list(map(Candidate._make, look.connection.execute(sql, {**scope, **keys})))
