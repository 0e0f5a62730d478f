"""The damaged home of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clipperd.storage.recovery.damaged_home import DamagedHome


@pytest.fixture
def house(tmp_path: Path) -> DamagedHome:
    made = DamagedHome(tmp_path)
    made.fill()
    return made
