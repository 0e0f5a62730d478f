"""Searches the local page index as the user types: words, prefixes, typos, infixes, paths.

Tries the closest kinds of match first, and the others only while there are too few pages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

import msgspec

from clipperd.clock import from_rfc3339
from clipperd.model import Scope
from clipperd.pages import candidates, typos
from clipperd.pages.candidates import Candidate, SearchScope
from clipperd.pages.entries import WORDS, fold
from clipperd.pages.usage import Use

_SPARE = 40  # extra pages to rank, because recency and use move some up
_ENOUGH = 5  # matches; with this many, typos are not searched
_MAX_WORDS = 12
_HABITS = 300  # favourites and used pages that are always considered
# Scores: each word begins a word of the title; infix; typo; in the path; typo in the path.
_WORDS, _INFIX, _TYPO, _PATH, _TYPO_PATH = 0.7, 0.6, 0.4, 0.35, 0.3


class Hit(msgspec.Struct, frozen=True):
    """A matching page; ``match`` is 1 for the whole title, down to 0.3."""

    page_id: str
    match: float
    edited: str


class Habits(msgspec.Struct, frozen=True):
    """The user's favourites and page use, by page id."""

    favorites: frozenset[str]
    uses: Mapping[str, Use]


def find(
    connection: sqlite3.Connection,
    scope: Scope,
    text: str,
    habits: Habits,
    *,
    kind: str = "",
    limit: int,
) -> list[Hit]:
    """Return pages whose title or path matches ``text``, with their best match, unordered.

    Returns all matches if there are few, else those that ``score`` may rank in the first ``limit``.
    """
    query = fold(text.replace("\0", " "))  # SQLite's query language ends at a NUL
    if not query:
        return []
    words = WORDS.findall(query)[:_MAX_WORDS]
    within = SearchScope(connection, scope, kind, limit + _SPARE)
    found = _BestMatches(query, words, within.want)
    marked = [*habits.favorites, *habits.uses][:_HABITS]
    found.take(page for page in candidates.by_id(within, marked) if query in page.title)
    found.take(candidates.exact(within, query))
    found.ask(lambda: candidates.prefix(within, query))
    if words:
        found.ask(lambda: candidates.words(within, words))
    # If one title has all words, they are neither infixes nor typos.
    is_plain = len(words) > 1 and found.has_all_words()
    if not is_plain:
        found.ask(lambda: candidates.infix(within, query), _INFIX)
    if words and len(query) > 1:  # a single letter is in every path
        found.ask(lambda: candidates.path(within, words))
    if not is_plain and len(found.best) < _ENOUGH:
        choices = [[word, *typos.near(connection, word)] for word in words]
        if any(others for _, *others in choices):
            found.take(candidates.fuzzy(within, choices), _TYPO)
            if len(found.best) < _ENOUGH:
                found.take(candidates.fuzzy(within, choices, in_paths=True), _TYPO_PATH)
    return list(found.best.values())


def score(hit: Hit, habits: Habits, now: float) -> float:
    """Rank by match; recency, use and favourites decide between similar ones. About 0 to 1.5."""
    try:
        days = max(0.0, now - from_rfc3339(hit.edited)) / 86400
    except ValueError:
        days = 3650.0
    use = habits.uses.get(hit.page_id)
    frecency = use.frecency(now) if use else 0.0
    value: float = hit.match + 0.1 * 0.5 ** (days / 14) + 0.2 * frecency / (frecency + 3)
    return round(value + (0.1 if hit.page_id in habits.favorites else 0.0), 4)


class _BestMatches:
    """The best match of each page so far."""

    def __init__(self, query: str, words: list[str], want: int) -> None:
        self._query = query
        self._words = words
        self._want = want
        self.best: dict[str, Hit] = {}

    def ask(self, question: Callable[[], list[Candidate]], worth: float = _PATH) -> None:
        """Run ``question`` and take its pages, unless there are enough."""
        if len(self.best) < self._want:
            self.take(question(), worth)

    def has_all_words(self) -> bool:
        """Whether one title has words that begin with each of the words."""
        return any(hit.match >= _WORDS for hit in self.best.values())

    def take(self, pages: Iterable[Candidate], worth: float = _PATH) -> None:
        """Score ``pages`` by their titles; ``worth`` is the score of a match elsewhere."""
        for page in pages:
            match = _closeness(self._query, self._words, page.title, worth)
            known = self.best.get(page.page_id)
            if known is None or known.match < match:
                self.best[page.page_id] = Hit(page.page_id, match, page.edited)


def _closeness(query: str, words: list[str], title: str, worth: float) -> float:
    if title == query:
        return 1.0
    if title.startswith(query):
        return 0.9
    have = WORDS.findall(title)
    if words and all(w in have for w in words):
        return 0.8
    share = sum(any(h.startswith(w) for h in have) for w in words) / max(1, len(words))
    # A match elsewhere scores more if the title has some of the words.
    return _WORDS if share == 1 else min(0.69, worth + 0.25 * share)
