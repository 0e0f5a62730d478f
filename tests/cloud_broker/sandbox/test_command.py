"""The command, as a process."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

from cloud_broker.sandbox.command import add_arguments, config_of, run


async def test_it_says_where_it_is_answers_and_stops_when_told(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cloud_broker.sandbox",
        "--ready-file",
        str(ready),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("Sandbox Notion at http://127.0.0.1:")
        url = line.removeprefix("Sandbox Notion at ").strip()
        async with ClientSession() as session, session.get(url + "_sandbox/calls") as got:
            assert (await got.json())["total"] == 0
        assert ready.read_text().strip() == url
    finally:
        process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0


def test_a_taken_port_ends_with_its_own_code() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(parser.parse_args(["--port", port])) == 6


def test_the_limit_is_for_the_scope_that_was_asked_for() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    config = config_of(parser.parse_args([]))
    assert (config.rate_per_token, config.window_s, config.burst) == (180, 60, None)
    options = ["--limit-scope", "workspace", "--rate", "600", "--window", "30", "--burst", "9"]
    config = config_of(parser.parse_args(options))
    assert (config.rate_per_token, config.rate_per_integration) == (None, None)
    assert (config.rate_per_workspace, config.window_s, config.burst) == (600, 30, 9)
    assert config_of(parser.parse_args(["--rate", "0"])).rate_per_token is None


@pytest.mark.parametrize("option", ["--window=0", "--burst=0", "--rate=-1", "--window=nan"])
def test_a_limit_that_makes_no_sense_is_a_wrong_usage(option: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args([option])
    assert exit_.value.code == 2
