"""Search as you type in the local index: words, prefixes, typos, parts of words, paths.

Matches are looked for from the nearest kind to the farthest, and the farther kinds only as long
as there are too few: whoever types the beginning of a hundred titles needs no typo explained.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

import msgspec

from clipperd.clock import from_rfc3339
from clipperd.model import Scope
from clipperd.pages import candidates, typos
from clipperd.pages.candidates import Candidate, CandidateQuery
from clipperd.pages.entries import WORDS, fold
from clipperd.pages.usage import Use

_SPARE = 40  # more pages than wanted are ranked: recency and use move some up
_ENOUGH = 5  # with this many good matches nobody looks for typos
_MAX_WORDS = 12
_HABITS = 300  # favourites and used pages that are always looked at, most used first
# What a match is worth: every word begins one of the title's; then inside a word, misspelt, only in
# the path, and there misspelt.
_WORDED, _PART, _TYPO, _ABOVE, _TYPO_ABOVE = 0.7, 0.6, 0.4, 0.35, 0.3


class Hit(msgspec.Struct, frozen=True):
    """A page that matches, and how well: 1 the whole title, down to 0.3."""

    page_id: str
    match: float
    edited: str


class Habits(msgspec.Struct, frozen=True):
    """What is known of the person: favourites and use, by page id."""

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
    """Pages whose title or path matches ``text``, best match of each, unordered.

    All of them where they are few, else those that ``score`` may put among the first ``limit``.
    """
    query = fold(text.replace("\0", " "))  # SQLite's query language ends at a NUL
    if not query:
        return []
    words = WORDS.findall(query)[:_MAX_WORDS]
    look = CandidateQuery(connection, scope, kind, limit + _SPARE)
    found = _BestMatches(query, words, look.want)
    marked = [*habits.favorites, *habits.uses][:_HABITS]
    found.take(page for page in candidates.by_id(look, marked) if query in page.title)
    found.take(candidates.exact(look, query))
    found.ask(lambda: candidates.prefix(look, query))
    if words:
        found.ask(lambda: candidates.words(look, words))
    # Several words that one title has: none of them is a part of a word, and none is misspelt.
    is_plain = len(words) > 1 and found.has_all_words()
    if not is_plain:
        found.ask(lambda: candidates.infix(look, query), _PART)
    if words and len(query) > 1:  # one letter is in every path
        found.ask(lambda: candidates.path(look, words))
    if not is_plain and len(found.best) < _ENOUGH:
        choices = [[word, *typos.near(connection, word)] for word in words]
        if any(others for _, *others in choices):
            found.take(candidates.fuzzy(look, choices), _TYPO)
            if len(found.best) < _ENOUGH:
                found.take(candidates.fuzzy(look, choices, in_paths=True), _TYPO_ABOVE)
    return list(found.best.values())


def score(hit: Hit, habits: Habits, now: float) -> float:
    """Match first; recency, use and favourites decide between similar ones. About 0 to 1.5."""
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

    def ask(self, question: Callable[[], list[Candidate]], worth: float = _ABOVE) -> None:
        """Take what ``question`` brings, unless there are enough pages."""
        if len(self.best) < self._want:
            self.take(question(), worth)

    def has_all_words(self) -> bool:
        """Whether each word begins a word of one and the same title."""
        return any(hit.match >= _WORDED for hit in self.best.values())

    def take(self, pages: Iterable[Candidate], worth: float = _ABOVE) -> None:
        """Judge ``pages`` by their titles; ``worth`` is for one that only matches elsewhere."""
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
    # Of titles that match elsewhere too, the one that has some of the words is nearer.
    return _WORDED if share == 1 else min(0.69, worth + 0.25 * share)
