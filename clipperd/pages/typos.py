"""Finds the words that a misspelt word may mean: within one typo, or two in long words.

One typo (a letter added, left out or replaced, or two swapped) leaves the first or the last half of
a word unchanged, unless it swaps the two letters in the middle. Both halves are indexed, so few
words are compared.
"""

from __future__ import annotations

import sqlite3

LEAST = 4  # letters; shorter words are within one typo of too many others
_LONG = 6  # letters; longer words may have two typos if no word is within one
_LONGER = 4  # letters by which a word may be longer than the typed beginning
_MOST = 40  # words to search for in place of one


def near(connection: sqlite3.Connection, word: str) -> list[str]:
    """Return other words of titles within a typo of ``word``, whole or as a prefix.

    Words with digits have no typos.
    """
    if len(word) < LEAST or any(c.isdigit() for c in word):
        return []
    length, half = len(word), len(word) // 2
    swapped = word[: half - 1] + word[half] + word[half - 1] + word[half + 1 :]
    begins = _between(connection, "term", word[:half], length - 1, length + _LONGER)
    ends = _between(connection, "backwards", word[: half - 1 : -1], length - 1, length + 1)
    across = _between(connection, "term", swapped, length, length + _LONGER)
    found = [*across, *(term for term in {*begins, *ends} if _is_typo_of(word, term))]
    if not found and length >= _LONG:
        begins = _between(
            connection, "term", word[: (length - 1) // 2], length - 2, length + _LONGER
        )
        found = [term for term in begins if _distance_to(word, term) <= 2]
    return sorted({*found} - {word})[:_MOST]


def is_one_typo(a: str, b: str) -> bool:
    """Whether one insertion, deletion, replacement or swap of neighbours turns a into b."""
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1:
        return False
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[at:] == b[at + 1 :]
    swapped = a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]
    return a[at + 1 :] == b[at + 1 :] or swapped


def distance(a: str, b: str, most: int) -> int:
    """Return the number of typos between a and b, at most ``most`` + 1."""
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


def _is_typo_of(word: str, term: str) -> bool:
    length = len(word)
    if len(term) <= length + 1 and is_one_typo(word, term):
        return True
    return any(is_one_typo(word, term[:end]) for end in (length - 1, length, length + 1))


def _distance_to(word: str, term: str) -> int:
    return min(distance(word, term, 2), distance(word, term[: len(word)], 2))


def _between(
    connection: sqlite3.Connection, column: str, start: str, least: int, longest: int
) -> list[str]:
    rows = connection.execute(
        f"""SELECT term FROM page_term
            WHERE {column} >= :start AND {column} < :start || char(1114111)
            AND length(term) BETWEEN :least AND :longest""",  # noqa: S608 (a constant)
        {"start": start, "least": least, "longest": longest},
    )
    return [term for (term,) in rows.fetchall()]
