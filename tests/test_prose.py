"""The prose check: the words it refuses, the words it leaves alone, and the lines it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import prose

CODE = '''"""Holds a lease.

The lease ends by
itself.
"""

# A comment about a
# person.
LIMIT = 3
"""Nobody waits longer."""


def add(parser, log):
    parser.add_argument("--x", help="start anew")
    log.info("told %s", parser)
    raise ValueError("at once")
    return "whoever: an ordinary string"
'''


def words(text: str) -> list[str]:
    return [word for _line, word, _advice in prose.faults_of((1, text))]


@pytest.mark.parametrize(
    "text",
    [
        "The file is made anew.",
        "The list is filled behind.",
        "Kept for so long, then dropped.",
        "The daemon is told, and\n  goes\n  on.",
        "A person is asked.",
        "Send it at\nonce.",
    ],
)
def test_a_word_of_the_dialect_is_refused(text: str) -> None:
    assert words(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "The broker runs behind nginx; the reader lags behind, and leaves a file behind.",
        "It works so long as the token is valid.",
        "`told` and ``whoever`` are code, as is\n\n```\nanew\n```\n\nand [a link](nobody.md).",
        "A clip goes on the page; a write is in doubt.",
        "The person's name; a personal token.",
    ],
)
def test_plain_words_are_left_alone(text: str) -> None:
    assert words(text) == []


def test_each_fault_of_a_module_is_found_in_its_line(tmp_path: Path) -> None:
    file = tmp_path / "lease.py"
    file.write_text(CODE, "utf-8")
    found = [
        (line, word)
        for passage in prose.prose_of(file)
        for line, word, _ in prose.faults_of(passage)
    ]
    assert sorted(found) == [
        (3, "by itself"),
        (7, "a person"),
        (10, "Nobody"),
        (14, "anew"),
        (15, "told"),
        (16, "at once"),
    ]


def test_a_question_word_may_not_open_a_module() -> None:
    assert prose.QUESTION.match('"""Who holds a lease."""')
    assert not prose.QUESTION.match(CODE)


def test_figures_are_per_thousand_words_outside_code() -> None:
    text = prose.without_code("What you see: `who` [here](which.md), " + "word " * 6)
    assert prose.per_thousand(prose.RELATIVE, text) == pytest.approx(100)
    assert prose.per_thousand(prose.READER, text) == pytest.approx(100)


def test_every_document_is_measured() -> None:
    lines, _is_plain = prose.report()
    assert {line.split()[-1] for line in lines} >= {"README.md", "docs/glossary.md", "docs"}
