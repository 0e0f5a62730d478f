"""openapi-typescript and a strict tsc take ten ordinary calls of an app without a cast."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from clipperd.web.openapi import FILE

SOURCE = Path(__file__).parent
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")
"""npm's words for a registry that cannot be reached."""


@pytest.mark.timeout(300)
def test_ten_calls_compile_without_a_cast(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        record_property("table: NOT RUN", "types of the OpenAPI document: no node or no npm here")
        return
    for name in ("package.json", "package-lock.json", "tsconfig.json", "calls.ts"):
        shutil.copy(SOURCE / name, tmp_path / name)
    quiet = ("--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
    installed = _run(tmp_path, "npm", "ci", *quiet)
    if installed.returncode and any(word in installed.stderr for word in _UNREACHABLE):
        record_property(
            "table: NOT RUN", "types of the OpenAPI document: npm cannot reach a registry"
        )
        return
    assert installed.returncode == 0, installed.stdout + installed.stderr
    tools = tmp_path / "node_modules" / ".bin"
    for command in (
        (str(tools / "openapi-typescript"), str(FILE), "-o", "api.d.ts"),
        (str(tools / "tsc"), "-p", "."),
    ):
        done = _run(tmp_path, *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_calls_have_no_cast() -> None:
    text = (SOURCE / "calls.ts").read_text("utf-8")
    assert " as " not in text.replace("as: ", "")
    assert ": any" not in text
    assert "<any>" not in text
    assert "registry" not in (SOURCE / "package-lock.json").read_text("utf-8")


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
