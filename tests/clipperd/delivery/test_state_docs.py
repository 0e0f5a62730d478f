"""docs/state-machine.md against the code: every state and every verdict is named there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from clipperd.delivery import outcome, reconcile
from clipperd.model import PRECEDENCE, State

PAGE = (Path(__file__).parents[3] / "docs" / "state-machine.md").read_text("utf-8")
VERDICTS = sorted(kind.__name__ for kind in get_args(outcome.Verdict))
FINDINGS = sorted(kind.__name__ for kind in get_args(reconcile.Finding))


def first_cells() -> set[str]:
    """The names in the first column of the page's tables."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+)", PAGE, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("name", [*State, *VERDICTS, *FINDINGS])
def test_the_page_explains(name: str) -> None:
    assert name in first_cells()


def test_the_picture_in_text_names_the_states_and_no_others() -> None:
    drawn = re.search(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
    assert drawn is not None
    named = set(re.findall(r"(\w+) --> (\w+):", drawn[1]))
    assert {state for pair in named for state in pair} == set(State)


def test_the_order_of_precedence_is_the_codes() -> None:
    assert ", ".join(PRECEDENCE) in " ".join(PAGE.split())
