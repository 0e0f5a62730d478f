"""The key check at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.crypto.pepper import Pepper
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import KeysRefused
from cloud_broker.randomness import SystemRandomness
from cloud_broker.storage.migrations import migrate
from cloud_broker.storage.sqlite import open_sqlite
from tests.clocks import ManualClock


async def pepper_with(folder: Path, *keys: tuple[str, bytes]) -> Pepper:
    database = await open_sqlite(folder / "broker.db")
    try:
        await migrate(database, SystemClock())
        pepper = Pepper(KeyRing(keys))
        await pepper.load(database, clock=ManualClock(), randomness=SystemRandomness())
        return pepper
    finally:
        await database.close()


async def test_hashes_stay_the_same_over_restarts_and_new_keys(tmp_path: Path) -> None:
    first = await pepper_with(tmp_path, ("one", b"1" * 32))
    later = await pepper_with(tmp_path, ("two", b"2" * 32), ("one", b"1" * 32))
    assert first.hash("workspace", "w") == later.hash("workspace", "w")


@pytest.mark.parametrize("key", [("one", b"x" * 32), ("two", b"1" * 32)])
async def test_a_wrong_or_missing_key_is_refused(tmp_path: Path, key: tuple[str, bytes]) -> None:
    await pepper_with(tmp_path, ("one", b"1" * 32))
    with pytest.raises(KeysRefused, match="one"):
        await pepper_with(tmp_path, key)
