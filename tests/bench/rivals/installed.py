"""Installs a Python environment or a folder of node modules for one run of a benchmark."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_PATIENCE_S = 300.0


class Missing(Exception):
    """It cannot be had here; the words say why."""


def python_with(folder: Path, package: str) -> Path:
    """The interpreter of a virtual environment with this package. Raises Missing."""
    home = folder / f"venv-{package}"
    _run([sys.executable, "-m", "venv", str(home)], package)
    python = home / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "--quiet", package], package)
    return python


def node_with(folder: Path, *packages: str) -> Path:
    """A folder in which node finds these packages. Raises Missing."""
    what = " and ".join(packages)
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Missing(f"{what}: there is no node here")
    home = folder / "node"
    home.mkdir()
    _run(["npm", "install", "--silent", "--prefix", str(home), *packages], what)
    return home


def _run(argv: list[str], what: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    try:
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{what}: {type(error).__name__}") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Missing(f"{what} cannot be installed: {' '.join(last)}")
