"""The browser of a sign-in: graphical, and not waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_BROWSE = "import sys; from clipperd.cli.browser import browse; print(browse(sys.argv[1]))"


def opened(bin_dir: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BROWSE, "https://broker.example/x"],
        env={"PATH": str(bin_dir), "TERM": "xterm", **env},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )


def a_program(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("name", ["www-browser", "lynx", "w3m"])
def test_a_text_browser_never_takes_the_terminal(tmp_path: Path, name: str) -> None:
    a_program(tmp_path, name, f"echo taken; : > {tmp_path}/started")
    for env in ({}, {"BROWSER": name}):
        assert opened(tmp_path, **env).stdout == "False\n"
    assert not (tmp_path / "started").exists()


def test_a_browser_is_not_waited_for(tmp_path: Path) -> None:
    release = tmp_path / "release"
    os.mkfifo(release)
    slow = a_program(tmp_path, "slow", f'echo noise; read _ < {release}; echo "$1" > {release}')
    assert opened(tmp_path, BROWSER=f"{slow} %s").stdout == "True\n"
    release.write_text("\n")  # it still runs
    assert release.read_text() == "https://broker.example/x\n"
