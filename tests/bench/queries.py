"""Search queries of every kind, drawn from the titles of the scene."""

from __future__ import annotations

from random import Random

from tests.bench import filled_stores

_EACH = 40
_GROWN = ("meeting notes", "budget review", "holiday kitchen", "recipe", "launch 777", "inventory")
_LETTERS = "abcdefghijklmnoprst"


def queries(pages: int) -> dict[str, list[str]]:
    """Queries by kind; the same in every run. ``pages``: how many the scene has."""
    chance = Random(5)
    titles = chance.sample([page.title for page in filled_stores.pages(pages)], 4 * _EACH)
    names = [word for title in titles if (word := title.split()[0]).isascii() and len(word) > 4]

    def words(count: int) -> str:
        return " ".join(chance.sample(filled_stores.WORDS, count))

    return {
        "letter by letter": [text[:end] for text in _GROWN for end in range(1, len(text) + 1)],
        "one letter": [*_LETTERS, *"0123456789"],
        "two letters": [chance.choice(_LETTERS) + chance.choice("aeiou") for _ in range(_EACH)],
        "a whole title": titles[: 2 * _EACH],
        "half a title": [title[: len(title) // 2 + 1] for title in titles[2 * _EACH :]],
        "two words": [words(2) for _ in range(_EACH)],
        "three words": [words(3) for _ in range(_EACH)],
        "two beginnings": [f"{words(1)[:3]} {words(1)[:3]}" for _ in range(_EACH)],
        "the middle of a word": [words(1)[1:-1] for _ in range(_EACH)],
        "a slip in a frequent word": [_slip(chance, words(1)) for _ in range(_EACH)],
        "a slip in a rare word": [_slip(chance, chance.choice(names)) for _ in range(_EACH)],
        "two slips": [
            _slip(chance, words(1)) + " " + _slip(chance, words(1)) for _ in range(_EACH)
        ],
        "Japanese": ["".join(chance.choices(filled_stores.CJK, k=n % 3 + 1)) for n in range(_EACH)],
        "a number": [str(chance.randrange(pages)) for _ in range(_EACH)],
        "signs": ["!", "-", "&", "...", "🎉", "?!"],
        "nothing has it": [f"zzqx{n}" for n in range(_EACH)],
        "nothing has all": [f"zzqx{n} {words(2)}" for n in range(_EACH)],
    }


def _slip(chance: Random, word: str) -> str:
    """``word`` with two neighbours swapped."""
    at = chance.randrange(len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
