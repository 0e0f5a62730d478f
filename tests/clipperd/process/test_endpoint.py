"""endpoint.json and the owner's token."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from clipperd.process import endpoint
from clipperd.process.endpoint import Endpoint

ONE = Endpoint(
    url="http://127.0.0.1:4000",
    port=4000,
    pid=12,
    started_at="2026-11-22T10:00:00.000Z",
    instance_id="one",
    token="t" * 43,
)


def _new() -> str:
    return secrets.token_urlsafe(32)


def test_what_is_published_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.json"
    endpoint.write(file, ONE)
    assert endpoint.read(file) == ONE
    assert set(json.loads(file.read_text())) == {
        "url", "port", "pid", "started_at", "instance_id", "api", "token",
    }  # fmt: skip
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["endpoint.json"]


def test_only_what_must_outlast_a_power_cut_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    endpoint.write(tmp_path / "endpoint.json", ONE)
    assert synced == []
    endpoint.owner_token(tmp_path / "token", _new)
    assert len(synced) == 2


def test_only_its_own_instance_removes_it(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.json"
    endpoint.write(file, ONE)
    endpoint.remove(file, "another")
    assert file.exists()
    endpoint.remove(file, "one")
    assert not file.exists()
    endpoint.remove(file, "one")


@pytest.mark.parametrize(
    "change",
    [{"port": 0}, {"port": 70000}, {"port": True}, {"token": "short"}, {"api": 2}, {"pid": "1"}],
)
def test_a_malformed_file_counts_as_none(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "endpoint.json"
    file.write_text(json.dumps({**asdict(ONE), **change}))
    assert endpoint.read(file) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"port": 1}', "\x00"])
def test_garbage_counts_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "endpoint.json"
    file.write_text(text)
    assert endpoint.read(file) is None


def test_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.json"
    file.write_text(json.dumps({**asdict(ONE), "socket": "/x"}))
    assert endpoint.read(file) == ONE


def test_the_token_is_kept_private_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = endpoint.owner_token(file, _new)
    assert endpoint.owner_token(file, _new) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_damaged_token_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("short")
    assert len(endpoint.owner_token(file, _new)) == 43


def test_a_weak_source_of_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="43"):
        endpoint.owner_token(tmp_path / "token", lambda: "abc")


def test_the_proof_is_the_documented_one() -> None:
    key = hashlib.sha256(b"tok").digest()
    due = hmac.new(key, b"nonce:4000:one", hashlib.sha256).hexdigest()
    assert endpoint.proof("tok", "nonce", 4000, "one") == due


def test_the_token_does_not_show_in_a_repr() -> None:
    assert ONE.token not in repr(ONE)
