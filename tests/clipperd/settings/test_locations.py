"""Paths and their permissions."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from clipperd.settings.errors import ConfigInvalid
from clipperd.settings.locations import locate, secure


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_holds_everything(tmp_path: Path) -> None:
    places = locate(tmp_path)
    for path in (places.config_file, places.endpoint_file, places.outbox, places.log_file):
        assert tmp_path in path.parents


def test_without_a_home_the_system_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert locate(None).data_dir.name == "clipperd"


def test_folders_are_made_private(tmp_path: Path) -> None:
    places = locate(tmp_path / "new" / "home")
    assert secure(places) == []
    assert {_mode(folder) for folder in places.folders()} == {0o700}


def test_loose_modes_are_fixed_and_reported(tmp_path: Path) -> None:
    places = locate(tmp_path / "home")
    secure(places)
    places.outbox.write_bytes(b"")
    places.outbox.chmod(0o644)
    places.data_dir.chmod(0o755)
    told = secure(places)
    assert (_mode(places.outbox), _mode(places.data_dir)) == (0o600, 0o700)
    assert len(told) == 2


def test_a_file_in_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigInvalid, match="cannot be used"):
        secure(locate(tmp_path / "home"))
