"""``config show``, ``path`` and ``set``."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.clipperd.cli.commands import run


def test_show_tells_value_and_origin(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("max_parallel_pages = 2\n")
    env = {"CLIPPERD_PORT": "4000", "CLIPPERD_SECRETS_PASSPHRASE": "canary"}
    shown = json.loads(run(tmp_path, "config", "show", "--json", env=env).out)
    assert shown["max_parallel_pages"] == {"value": 2, "origin": "config.toml"}
    assert shown["port"] == {"value": 4000, "origin": "environment"}
    assert shown["secrets_passphrase"] == {"value": "(set)", "origin": "environment"}
    assert shown["home"]["origin"] == "flag"


def test_show_is_a_table_for_people(tmp_path: Path) -> None:
    lines = run(tmp_path, "config").out.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "FROM"]
    assert ["settle_unknown_s", "65", "default"] in [line.split() for line in lines]


def test_a_broken_file_is_exit_4_and_names_the_fault(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("prot = 1\n")
    for verb in (("config",), ("start",), ("run",)):
        result = run(tmp_path, *verb)
        assert result.code == 4
        assert "prot (config.toml) is not a setting. Did you mean port?" in result.err


def test_set_writes_the_file_privately(tmp_path: Path) -> None:
    home = tmp_path / "new"
    assert run(home, "config", "set", "log_level", "DEBUG").code == 0
    assert (home / "config.toml").read_text() == 'log_level = "debug"\n'
    assert stat.S_IMODE((home / "config.toml").stat().st_mode) == 0o600


def test_set_says_when_the_environment_wins(tmp_path: Path) -> None:
    env = {"CLIPPERD_PORT": "1"}
    assert "CLIPPERD_PORT overrides it" in run(tmp_path, "config", "set", "port", "2", env=env).out


def test_set_refuses_what_does_not_fit_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port = 1\n")
    assert run(tmp_path, "config", "set", "port", "many").code == 4
    assert run(tmp_path, "config", "set", "nope", "1").code == 2
    assert run(tmp_path, "config", "set", "secrets_passphrase", "x").code == 4
    assert (tmp_path / "config.toml").read_text() == "port = 1\n"


def test_path_names_the_files(tmp_path: Path) -> None:
    shown = json.loads(run(tmp_path, "config", "path", "--json").out)
    assert shown["outbox"] == str(tmp_path / "outbox.db")
