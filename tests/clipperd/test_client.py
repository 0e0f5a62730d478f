"""The client authenticates the daemon first, finds it again, and reads its streams."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clipperd.client import Client, ServerEvent, read_events
from clipperd.process import endpoint
from clipperd.process.errors import ApiError, DaemonDown, DaemonUntrusted
from tests.clipperd.fake_daemon import FakeDaemon, running


def _client(home: Path) -> Client:
    return Client(lambda: endpoint.read(home / "endpoint.json"))


async def test_asks_for_the_proof_before_the_token(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        await asyncio.to_thread(_client(tmp_path).status)
    assert [path for _, path, _ in daemon.seen] == ["/v1/hello", "/v1/status"]


async def test_sends_nothing_secret_to_a_squatter(tmp_path: Path) -> None:
    squatter = FakeDaemon()
    squatter.proves = False
    async with running(tmp_path, squatter):
        with pytest.raises(DaemonUntrusted):
            await asyncio.to_thread(_client(tmp_path).status)
    assert squatter.tokens_seen == []
    assert [path for _, path, _ in squatter.seen] == ["/v1/hello"]


async def test_a_squatter_that_asks_for_the_body_only_learns_the_nonce(tmp_path: Path) -> None:
    squatter = FakeDaemon()
    squatter.proves = False
    async with running(tmp_path, squatter):
        with pytest.raises(DaemonUntrusted):
            await asyncio.to_thread(_client(tmp_path).clip, {"content": "private"})
    assert "private" not in str(squatter.seen)


async def test_each_connection_uses_another_nonce(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        client = _client(tmp_path)
        await asyncio.to_thread(client.status)
        await asyncio.to_thread(client.status)
    nonces = [body["nonce"] for _, path, body in daemon.seen if path == "/v1/hello"]
    assert len(set(nonces)) == 2


async def test_finds_a_daemon_that_moved(tmp_path: Path) -> None:
    client = _client(tmp_path)
    async with running(tmp_path):
        await asyncio.to_thread(client.status)
    second = FakeDaemon()
    second.instance_id = "instance-2"
    async with running(tmp_path, second):
        await asyncio.to_thread(client.status)
    assert ("GET", "/v1/status", None) in second.seen


async def test_reads_the_token_again_when_it_was_replaced(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        client = _client(tmp_path)
        await asyncio.to_thread(client.status)
        daemon.token = "n" * 43
        endpoint.write(tmp_path / "endpoint.json", daemon.published())
        await asyncio.to_thread(client.status)
    assert daemon.tokens_seen == ["t" * 43, "n" * 43]


async def test_a_problem_becomes_an_error_with_its_fields(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        problem = {"code": "not_signed_in", "title": "Sign in", "detail": "D", "hint": "H"}
        daemon.refuse["/v1/clips"] = (409, problem)
        with pytest.raises(ApiError) as caught:
            await asyncio.to_thread(_client(tmp_path).clips)
    error = caught.value
    assert (error.status, error.code, error.detail, error.hint) == (409, "not_signed_in", "D", "H")


def test_says_that_nothing_runs_without_an_endpoint(tmp_path: Path) -> None:
    with pytest.raises(DaemonDown):
        _client(tmp_path).status()


async def test_says_that_nothing_runs_behind_a_stale_endpoint(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    with pytest.raises(DaemonDown):
        await asyncio.to_thread(_client(tmp_path).status)


async def test_ignores_proxies_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with running(tmp_path):
        assert (await asyncio.to_thread(_client(tmp_path).status))["version"] == "0.1.0"


async def test_yields_events_until_the_stream_ends(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.events = [("snapshot", {"a": 1}), ("clip", {"id": "c"})]
        events = await asyncio.to_thread(lambda: list(_client(tmp_path).events(["clip"])))
    assert events == [ServerEvent("snapshot", {"a": 1}, "0"), ServerEvent("clip", {"id": "c"}, "1")]
    assert daemon.seen[-1][1] == "/v1/events?types=clip"


def test_events_join_data_lines_and_skip_comments() -> None:
    lines = [b": hi\n", b"event: clip\n", b"data: [1,\n", b"data: 2]\n", b"\n", b"id: 3\n", b"\n"]
    assert list(read_events(lines)) == [ServerEvent("clip", [1, 2])]


async def test_lists_every_clip_across_pages(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.clips = {n: {"id": n, "state": "queued"} for n in ("a", "b", "c")}
        clips = await asyncio.to_thread(lambda: list(_client(tmp_path).every_clip()))
    assert [clip["id"] for clip in clips] == ["a", "b", "c"]
