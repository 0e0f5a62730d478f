"""The output of the broker's commands, and of a crash of the broker, holds no secret."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import ClientSession

from cloud_broker.cli.main import COMMANDS, main
from cloud_broker.settings.parsers import origin
from cloud_broker.settings.table import SETTINGS
from tests.cloud_broker.broker_stage import KEY, SEED, an_environment, challenge
from tests.security import canaries
from tests.security.canaries import leaks

PROXY = "/api/notion/proxy/v1"
SPOILED = (
    *("{}", "one:{}", "one:{}=", "one:{},two:{}", ":{}", "{}\n", " {} ", "é{}", "{}\x00"),
    *(
        "https://user:{}@broker.example",
        "postgresql://user:{}@127.0.0.1:1/broker",
        "mysql://u:{}@h",
    ),
    *("redis://:{}@127.0.0.1:1/0", "redis://:{}@:x", "redis://{}"),
)
"""Values of a setting with a secret somewhere inside, most of them of no use."""


@pytest.mark.parametrize("command", ["check-config", "migrate"])
def test_no_fault_of_a_secret_setting_says_its_value(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    good = an_environment(BROKER_DATABASE_URL=f"sqlite:///{tmp_path / 'broker.db'}")
    secret = canaries.word("settingsecret")
    refused = 0
    for setting in SETTINGS:
        if not setting.secret and setting.parse is not origin:
            continue
        for form in SPOILED:
            code = main([command], {**good, setting.name: form.replace("{}", secret)})
            refused += code != 0
            shown = capsys.readouterr()
            assert secret not in shown.out + shown.err, (setting.name, form, shown)
    assert refused > 30


def test_no_fault_of_a_file_says_what_is_in_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secret = canaries.word("filesecret")
    for text in (
        f'encryption_keys = "one:{secret}"\n',
        f"encryption_keys = {secret}\n",
        f'signing_keys = ["{secret}"]\n',
        f'notion_client_secret = "{secret}\n',
        f'[section]\nnotion_client_secret = "{secret}"\n',
        f'webhook_token = {{ "{secret}" = 1 }}\n',
    ):
        path = tmp_path / "broker.toml"
        path.write_text(text)
        assert main(["check-config", "--config", str(path)], {}) == 4
        shown = capsys.readouterr()
        assert secret not in shown.out + shown.err, (text, shown)


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_help_says_nothing_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    secret = canaries.word("helpsecret")
    for setting in SETTINGS:
        monkeypatch.setenv(setting.name, secret)
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr()
    assert len(shown.out) > 100
    assert secret not in shown.out + shown.err


@pytest.mark.e2e
async def test_a_process_whose_database_breaks_under_it_says_no_secret(tmp_path: Path) -> None:
    """At debug level, with Redis out of reach: everything that can be logged is."""
    secrets = {name: canaries.word(name) for name in ("redispassword", "token", "code", "body")}
    environment = an_environment(
        BROKER_DATABASE_URL=f"sqlite:///{tmp_path / 'broker.db'}",
        BROKER_REDIS_URL=f"redis://:{secrets['redispassword']}@127.0.0.1:1/0",
        BROKER_NOTION_API_URL="http://127.0.0.1:1",
        BROKER_PORT="0",
        BROKER_LOG_LEVEL="DEBUG",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloud_broker", "run"),
        env={**os.environ, **environment, "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        at = (await process.stdout.readline()).decode().split()[-1]
        assert max(await _knock(at, secrets)) < 500
        with sqlite3.connect(tmp_path / "broker.db") as database:
            for table in ("refresh_tokens", "oauth_states", "handoffs", "broker_state"):
                database.execute(f"DROP TABLE {table}")
        database.close()
        assert max(await _knock(at, secrets)) >= 500
    finally:
        process.send_signal(signal.SIGABRT)  # a crash: every thread's stack is printed
        out, err = await process.communicate()
    assert b"Fatal Python error: Aborted" in err
    assert b'"level":"error"' in err
    known = secrets | {"client secret": "canary-client-secret", "key": KEY, "seed": SEED}
    assert leaks("what the process printed", out + err, known) == []


async def _knock(at: str, secrets: dict[str, str]) -> list[int]:
    """Requests of many kinds with a secret in each place that takes one; their statuses."""
    bearer = {"Authorization": f"Bearer {secrets['token']}"}
    grant = {"grant_type": "refresh_token", "refresh_token": secrets["token"]}
    login = urlencode(
        {
            "source": "app",
            "state": secrets["token"],
            "code_challenge": challenge(),
            "code_challenge_method": "S256",
            "device": secrets["body"],
        }
    )
    statuses = []
    async with ClientSession(at) as browser:
        for method, path, body in (
            ("GET", "/readyz", None),
            ("GET", f"/api/auth/notion/callback?state={'A' * 43}&code={secrets['code']}", None),
            ("GET", f"/api/auth/notion?{secrets['code']}", None),
            ("GET", f"/api/auth/notion?{login}", None),
            ("POST", "/api/auth/token", grant),
            ("POST", f"{PROXY}/search", {"query": secrets["body"]}),
            ("GET", f"{PROXY}/pages/{secrets['body']}", None),
            ("POST", "/api/notion/webhook", {"verification_token": secrets["token"]}),
        ):
            async with browser.request(
                method, path, json=body, headers=bearer, allow_redirects=False
            ) as answer:
                await answer.read()
                statuses.append(answer.status)
    return statuses
