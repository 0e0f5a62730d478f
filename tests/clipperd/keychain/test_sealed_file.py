"""The sealed file of secrets: private, opened by one passphrase, clear about damage."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipperd.keychain.child_process import run_command
from clipperd.keychain.errors import SecretsUnusable
from clipperd.keychain.sealed_file import FileSecrets
from tests.clipperd.keychain.test_system import standing


@pytest.fixture
async def box(tmp_path: Path) -> Path:
    """A sealed file that holds one secret."""
    path = tmp_path / "secrets"
    await FileSecrets(path, passphrase="right").set("a", "canary-value")
    return path


def _spoil_box(raw: bytes) -> bytes:
    at = raw.index(b'"box":"') + 9
    return raw[:at] + (b"A" if raw[at : at + 1] != b"A" else b"B") + raw[at + 1 :]


def _raise_cost(raw: bytes) -> bytes:
    return raw.replace(b'"cost":32768', b'"cost":1073741824')


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the file's content."""
    path.write_bytes(change(path.read_bytes()))


def test_the_file_is_private_and_shows_nothing(box: Path) -> None:
    assert stat.S_IMODE(box.stat().st_mode) == 0o600
    assert b"canary-value" not in box.read_bytes()
    assert [p.name for p in box.parent.iterdir()] == ["secrets"]


async def test_another_passphrase_opens_nothing_and_changes_nothing(box: Path) -> None:
    with pytest.raises(SecretsUnusable):
        await FileSecrets(box, passphrase="wrong").open()
    assert await FileSecrets(box, passphrase="right").get("a") == "canary-value"


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b"",
        lambda raw: b"{}",
        lambda raw: b"\xff\xfe",
        lambda raw: raw[:-20],
        _spoil_box,
        _raise_cost,
    ],
    ids=["empty", "no fields", "not text", "cut", "flipped", "a cost nobody wants to pay"],
)
async def test_a_damaged_file_is_reported(box: Path, change: Callable[[bytes], bytes]) -> None:
    rewrite(box, change)
    with pytest.raises(SecretsUnusable):
        await FileSecrets(box, passphrase="right").open()


async def test_a_sealing_process_that_dies_loses_nothing_and_says_so(tmp_path: Path) -> None:
    dying = run_command([sys.executable, "-c", "input()"])
    with pytest.raises(SecretsUnusable, match="its process ended"):
        await FileSecrets(tmp_path / "secrets", passphrase="right", connect=dying).open()
    store = FileSecrets(tmp_path / "secrets", passphrase="right")
    await store.open()
    store._connect = dying  # from now on
    await store.set("a", "1")
    assert await store.get("a") == "1"
    assert "its process ended" in str(store.why)


def block(box: Path) -> None:
    """Put a folder in the file's place, which no file can replace."""
    box.unlink()
    box.mkdir()


def unblock(box: Path) -> None:
    box.rmdir()


async def test_a_file_that_cannot_be_written_keeps_the_session_and_says_so(box: Path) -> None:
    store = FileSecrets(box, passphrase="right")
    await store.open()
    block(box)
    await store.set("a", "2")
    assert await store.get("a") == "2"
    assert standing(store) == ("file", True)
    unblock(box)
    await store.set("b", "3")
    assert standing(store) == ("file", False)
    assert await FileSecrets(box, passphrase="right").get("a") == "2"


@pytest.mark.parametrize(("content", "mode"), [(b"short", 0o600), (bytes(32), 0o644), (None, 0)])
async def test_a_poor_key_file_is_refused(tmp_path: Path, content: bytes | None, mode: int) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
        key.chmod(mode)
    with pytest.raises(SecretsUnusable):
        await FileSecrets(tmp_path / "secrets", key_file=key).open()
