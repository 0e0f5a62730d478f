"""Search as you type in the local index: words, prefixes, typos, parts of words, paths."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from clipperd.clock import from_rfc3339
from clipperd.model import Scope
from clipperd.pages.entries import WORDS, fold
from clipperd.pages.marks import Use

_CANDIDATES = 400  # per kind of match; ranking looks at these only
_ENOUGH = 5  # with this many good matches nobody looks for typos
_MAX_WORDS = 12


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that matches, and how well: 1 the whole title, down to 0.3."""

    page_id: str
    match: float


@dataclass(frozen=True, slots=True)
class Habits:
    """What is known of the person: favourites and use, by page id."""

    favorites: frozenset[str]
    uses: Mapping[str, Use]


def find(connection: sqlite3.Connection, scope: Scope, text: str) -> list[Hit]:
    """Pages whose title or path matches ``text``, best match of each, unordered."""
    query = fold(text.replace("\0", " "))  # SQLite's query language ends at a NUL
    words = WORDS.findall(query)[:_MAX_WORDS]
    best: dict[str, float] = {}
    if words:
        wanted = " ".join(f'"{w}"*' for w in words)
        if len(query) == 1:
            wanted = f"title : {wanted}"  # one letter is in every path
        for page_id, title, path in _worded(connection, scope, wanted):
            _keep(best, page_id, _closeness(query, words, title, path))
    for page_id in _containing(connection, scope, query):
        _keep(best, page_id, 0.6)
    if words and len(best) < _ENOUGH:
        for page_id in _misspelt(connection, scope, words):
            _keep(best, page_id, 0.4)
    return [Hit(page_id, match) for page_id, match in best.items()]


def score(hit: Hit, last_edited_time: str, habits: Habits, now: float) -> float:
    """Match first; recency, use and favourites decide between similar ones. About 0 to 1.5."""
    try:
        days = max(0.0, now - from_rfc3339(last_edited_time)) / 86400
    except ValueError:
        days = 3650.0
    use = habits.uses.get(hit.page_id)
    frecency = use.frecency(now) if use else 0.0
    value: float = hit.match + 0.1 * 0.5 ** (days / 14) + 0.2 * frecency / (frecency + 3)
    return round(value + (0.1 if hit.page_id in habits.favorites else 0.0), 4)


def distance(a: str, b: str, most: int) -> int:
    """Edits (insert, delete, replace, swap of neighbours) from a to b; most + 1 when more."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if older and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


def _keep(best: dict[str, float], page_id: str, match: float) -> None:
    best[page_id] = max(match, best.get(page_id, 0.0))


def _closeness(query: str, words: list[str], title: str, path: str) -> float:
    if title == query:
        return 1.0
    if title.startswith(query):
        return 0.9
    have = WORDS.findall(title)
    if all(w in have for w in words):
        return 0.8
    if all(any(h.startswith(w) for h in have) for w in words):
        return 0.7
    # The rest of the words stand in the path; a title that has some of them is nearer.
    share = sum(any(h.startswith(w) for h in have) for w in words) / len(words)
    return 0.35 + 0.25 * share if path else 0.35


# CROSS JOIN: SQLite keeps that order, so the words are looked up once and not for every page.


def _worded(
    connection: sqlite3.Connection, scope: Scope, wanted: str
) -> list[tuple[str, str, str]]:
    rows = connection.execute(
        """SELECT page.page_id, page_words.title, page_words.path
            FROM page_words CROSS JOIN page ON page.seq = page_words.rowid
            WHERE page_words MATCH :wanted AND page.user_id = :user
              AND page.workspace_id = :workspace AND page.access = 'ok'
            ORDER BY bm25(page_words, 4.0, 1.0), page.last_edited_time DESC LIMIT :most""",
        _keys(scope, wanted=wanted),
    )
    return [(r[0], r[1], r[2]) for r in rows.fetchall()]


def _containing(connection: sqlite3.Connection, scope: Scope, query: str) -> list[str]:
    """Titles that hold the query anywhere: scripts without spaces, the middle of a word."""
    if not query:
        return []
    escaped = query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if len(query) < 3:  # a trigram index needs three characters
        rows = connection.execute(
            """SELECT page_id FROM page WHERE user_id = :user AND workspace_id = :workspace
                AND access = 'ok' AND folded LIKE :wanted ESCAPE '\\'
                ORDER BY last_edited_time DESC LIMIT :most""",
            _keys(scope, wanted=f"%{escaped}%"),
        )
    else:
        rows = connection.execute(
            """SELECT page.page_id FROM page_grams CROSS JOIN page ON page.seq = page_grams.rowid
                WHERE page_grams MATCH :wanted AND page.user_id = :user
                  AND page.workspace_id = :workspace AND page.access = 'ok'
                ORDER BY page.last_edited_time DESC LIMIT :most""",
            _keys(scope, wanted='"' + query.replace('"', '""') + '"'),
        )
    return [row[0] for row in rows.fetchall()]


def _misspelt(connection: sqlite3.Connection, scope: Scope, words: list[str]) -> list[str]:
    """Pages that have, for every word, the word itself or one within a typo or two of it."""
    parts = []
    for word in words:
        near = _near(connection, word)
        parts.append("(" + " OR ".join([f'"{word}"*', *(f'"{n}"' for n in near)]) + ")")
    return [page_id for page_id, _, _ in _worded(connection, scope, " AND ".join(parts))]


def _near(connection: sqlite3.Connection, word: str) -> list[str]:
    if len(word) < 4:
        return []  # short words are within a typo of everything
    most = 1 if len(word) < 6 else 2
    near = []
    for first in sorted(set(word[:2])):  # the first letter is right, missing, or swapped
        terms = connection.execute(
            """SELECT term FROM page_term
                WHERE term >= :first AND term < :end
                  AND length(term) BETWEEN :least AND :longest""",
            {
                "first": first,
                "end": first + "\U0010ffff",
                "least": len(word) - most,
                "longest": len(word) + most + 1,
            },
        )
        for (term,) in terms.fetchall():
            shortest = min(
                distance(word, term, most), distance(word, term[: len(word)], most)
            )  # what is typed may be the beginning of a word
            if shortest <= most:
                near.append(term)
    return near[:_CANDIDATES]


def _keys(scope: Scope, **more: str) -> dict[str, str | int]:
    return {
        "user": scope.user_id,
        "workspace": scope.workspace_id,
        "most": _CANDIDATES,
        **more,
    }
