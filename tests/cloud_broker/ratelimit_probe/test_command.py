"""The command as a process, against an API in real time; and the runs it refuses to start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from cloud_broker.cli.main import main
from cloud_broker.sandbox import grants, seed
from cloud_broker.sandbox.app import CALLS, WORLD, create_app
from cloud_broker.sandbox.calls import Calls

API = ["--api-url", "http://127.0.0.1:9"]
TOKENS = [*API, "--token-env", "A", "--token-env", "B"]


@asynccontextmanager
async def a_process(*options: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloud_broker", "ratelimit-probe", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_ctrl_c_ends_it_with_a_report_of_what_there_is_and_no_token_in_it(
    tmp_path: Path,
) -> None:
    server = TestServer(create_app(rate_per_minute=180))
    async with server:
        world = server.app[WORLD]
        one = grants.mint(world, seed.MIRA, seed.WORKSPACE).access
        other = grants.mint(world, seed.JONAS, seed.OTHER_WORKSPACE).access
        file = tmp_path / "b.token"
        file.write_text(other + "\n")
        options = ["--api-url", str(server.make_url("")), "--token-env", "TOKEN_A", "--json"]
        options += ["--token-file", str(file), "--same-integration", "--rate", "20"]
        async with a_process(*options, "--duration", "12", TOKEN_A=one) as process:
            assert process.stderr is not None
            begun = b""
            while b" sent, " not in begun:  # the first line of progress in a phase
                begun += await asyncio.wait_for(process.stderr.readline(), 50)
            process.send_signal(signal.SIGINT)
            out, rest = await asyncio.wait_for(process.communicate(), 30)
        calls: Calls = server.app[CALLS]
    assert process.returncode == 1
    found = json.loads(out)
    (phase,) = found["phases"]
    assert (phase["name"], phase["complete"]) == ("A alone", False)
    assert phase["tokens"]["A"]["requests"] == calls.total - 2  # and each asked who it is
    assert found["verdict"]["answer"] == "inconclusive"
    assert found["tokens"]["B"]["workspace_name"] == "Northwind Team"
    told = (begun + rest + out).decode()
    assert "A and B share: integration" in told
    assert one not in told
    assert other not in told


def wrong(capsys: pytest.CaptureFixture[str], *options: str, **env: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["ratelimit-probe", *options], env)
    assert exit_.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--token-env", "A"], "need --api-url"),
        (["--api-url", "http://api.example.com"], "must be https"),
        (["--api-url", "api.example.com"], "must be an origin"),
        ([*API, "--token-env", "A"], "give 2 to 4 tokens"),
        ([*API, "--token-env", "A", "--token-env", "C"], "holds no token"),
        ([*API, "--token-env", "A", "--token-env", "A"], "equals an earlier one"),
        ([*TOKENS, "--sandbox-scope", "token"], "is for a rehearsal"),
        ([*TOKENS, "--integrations", "x"], "takes 2 names"),
        ([*TOKENS, "--workspaces", "x,"], "takes 2 names"),
        ([*TOKENS, "--pairs", "AC"], "takes some of AB"),
        (["--call", "../x"], "must be a path below /v1"),
        (["--call", "search?q=x"], "must be a path below /v1"),
        (["--rate", "0"], "must be a number from"),
        (["--rate", "0.1", "--duration", "5"], "before the first request"),
        (["--expect", "180"], "must be a number from"),
        (["--max-requests", "6000"], "6483 requests: raise --max-requests"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_usage(
    options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = wrong(capsys, *options, A="secret-token-a", B="secret-token-b")
    assert why in told
    assert "secret-token" not in told


def test_a_token_s_file_that_cannot_be_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*API, "--token-env", "A", "--token-file", str(tmp_path / "none")]
    assert main(["ratelimit-probe", *options], {"A": "a"}) == 1
    assert "token B" in capsys.readouterr().err


def test_nobody_at_the_address_is_told(
    unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--api-url", f"http://127.0.0.1:{unused_tcp_port}"]
    options += ["--token-env", "A", "--token-env", "B"]
    assert main(["ratelimit-probe", *options], {"A": "token-a", "B": "token-b"}) == 1
    told = capsys.readouterr().err
    assert "does not answer" in told
    assert "token-a" not in told


def test_the_help_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["ratelimit-probe", "--help"])
    assert exit_.value.code == 0
    assert "--token-env" in capsys.readouterr().out
