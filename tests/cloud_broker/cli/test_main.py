"""The command line: exit codes, faults, keys, a real process that drains."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestServer

from cloud_broker.cli.keys import new_keys
from cloud_broker.cli.main import COMMANDS, Command, main
from cloud_broker.clock import SystemClock
from cloud_broker.settings.config import Settings
from cloud_broker.settings.table import SETTINGS
from cloud_broker.storage import migrations
from cloud_broker.storage.audit import AuditEvent, append
from cloud_broker.storage.migrations import migrate
from cloud_broker.storage.sqlite import open_sqlite
from cloud_broker.storage.steps import Contract
from tests.cloud_broker.broker_stage import FakeNotion, an_environment, challenge, state_of


def an_env(folder: Path, **changes: str) -> dict[str, str]:
    return an_environment(
        BROKER_DATABASE_URL=f"sqlite:///{folder / 'broker.db'}", BROKER_PORT="0", **changes
    )


def test_fresh_keys_are_accepted_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new"]) == 0
    lines = capsys.readouterr().out.splitlines()
    Settings.from_env(an_environment(**dict(line.split("=", 1) for line in lines)))


def test_a_good_configuration_is_said_to_be_good(tmp_path: Path) -> None:
    assert main(["check-config"], an_env(tmp_path)) == 0


def test_every_fault_is_named_and_the_exit_code_is_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"], {"BROKER_PORT": "x"}) == 4
    told = capsys.readouterr().err
    for name in ("BROKER_PORT", "BROKER_PUBLIC_URL", "BROKER_ENCRYPTION_KEYS"):
        assert name in told


def test_migrating_brings_the_database_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = an_env(tmp_path)
    assert main(["migrate", "--check"], env) == 5
    assert list(tmp_path.iterdir()) == []  # a look makes no database
    assert main(["migrate"], env) == 0
    assert "migrations applied. The database is up to date." in capsys.readouterr().out
    assert main(["migrate", "--check"], env) == 0


def test_a_look_at_the_schema_names_what_is_missing_and_what_may_be_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env, now = an_env(tmp_path), list(migrations.AREAS)
    assert main(["migrate"], env) == 0
    added, gone = "CREATE TABLE later (id TEXT, n BIGINT)", Contract("DROP TABLE later")
    monkeypatch.setattr(migrations, "AREAS", [*now, ("later", [added, gone])])
    assert main(["migrate", "--check"], env) == 5
    assert "Migrations are missing: later/001." in capsys.readouterr().err
    assert main(["migrate"], env) == 0
    assert main(["migrate", "--check"], env) == 0
    assert "cloud-broker migrate --contract (it applies later/002)" in capsys.readouterr().out
    monkeypatch.setattr(migrations, "AREAS", now)  # an earlier version, side by side
    assert main(["migrate", "--check"], env) == 0
    assert "A later version has added to it: later/001." in capsys.readouterr().out
    monkeypatch.setattr(migrations, "AREAS", [*now, ("later", [added, gone])])
    assert main(["migrate", "--contract"], env) == 0
    monkeypatch.setattr(migrations, "AREAS", now)
    assert main(["migrate", "--check"], env) == 5
    assert "removed tables or columns that this one needs: later/002" in capsys.readouterr().err


def test_a_whole_audit_log_is_told_from_one_that_was_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = an_env(tmp_path)
    assert main(["audit", "verify"], env) == 5  # nothing there, and nothing is made
    assert not (tmp_path / "broker.db").exists()

    async def some_rows() -> None:
        database = await open_sqlite(tmp_path / "broker.db")
        await migrate(database, SystemClock())
        async with database.transaction() as tx:
            await append(tx, [AuditEvent(1, "one", "ada"), AuditEvent(2, "two", "ada")])
        await database.close()

    asyncio.run(some_rows())
    assert main(["audit", "verify"], env) == 0
    assert "2 rows" in capsys.readouterr().out
    with sqlite3.connect(tmp_path / "broker.db") as connection:
        connection.execute("UPDATE audit_log SET event = 'none' WHERE seq = 2")
    connection.close()
    assert main(["audit", "verify"], env) == 1
    assert "Row 2" in capsys.readouterr().err


def test_the_status_of_keys_counts_rows_and_misses_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = an_env(tmp_path)
    assert main(["migrate"], env) == 0
    with sqlite3.connect(tmp_path / "broker.db") as connection:
        connection.execute("INSERT INTO broker_state VALUES ('pepper', 'one', x'00', x'00', 0)")
    connection.close()
    capsys.readouterr()
    assert main(["keys", "status"], env) == 0
    told = capsys.readouterr().out
    assert told == "one  seals and opens  1 rows\n"
    other = env["BROKER_ENCRYPTION_KEYS"].replace("one:", "two:")
    assert main(["keys", "status"], {**env, "BROKER_ENCRYPTION_KEYS": other}) == 7
    assert "one (1 rows)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["keys"], ["audit"], ["run", "--fast"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_and_version_exit_with_0(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    assert "cloud-broker" in capsys.readouterr().out


def test_help_for_run_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    told = capsys.readouterr().out
    assert [setting.name for setting in SETTINGS if setting.name not in told] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_tells_an_example_and_the_exit_codes(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command.name, "--help"])
    assert exit_.value.code == 0
    told = capsys.readouterr().out
    assert "example" in told
    assert f"cloud-broker {command.name}" in told.partition("example")[2]
    assert "exit codes: 0 ok" in told


@pytest.mark.parametrize(
    "verb",
    [
        *("keys new", "keys status", "keys rewrap", "keys trim", "audit verify"),
        *("users show", "users export", "users delete", "users unblock"),
    ],
)
def test_every_verb_below_a_command_tells_an_example_and_takes_a_settings_file(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*verb.split(), "--help"])
    assert exit_.value.code == 0
    told = capsys.readouterr().out
    assert f"example:\n  cloud-broker {verb}" in told
    assert "exit codes: 0 ok" in told
    assert ("--config" in told) == (verb != "keys new")


def test_a_command_is_imported_when_it_is_asked_for_and_not_before() -> None:
    code = (
        "import sys; from cloud_broker.cli.main import main; main(['version']);"
        "print(*sorted(name for name in sys.modules if name.startswith('cloud_broker.')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cloud_broker.cli.about" in run.stdout
    for module in ("cloud_broker.sandbox", "cloud_broker.app", "cloud_broker.storage"):
        assert module not in run.stdout


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code"), [("revoke all\n", 0), ("yes\n", 2), ("\n", 2), ("", 2)])
def test_a_mass_revocation_asks_on_a_terminal_and_takes_no_hasty_answer(
    typed: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = an_env(tmp_path)
    assert main(["migrate"], env) == 0
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert main(["revoke-all"], env) == code


@asynccontextmanager
async def a_process(env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloud_broker", "run"),
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


async def address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("Broker at http://")
    return line.removeprefix("Broker at ").strip()


async def told(process: asyncio.subprocess.Process) -> str:
    out, err = await process.communicate()
    return (out + err).decode()


@pytest.mark.e2e
async def test_a_stopped_broker_finishes_what_is_under_way(tmp_path: Path) -> None:
    notion = FakeNotion(hold=asyncio.Event())
    async with (
        TestServer(notion.app()) as upstream,
        a_process(an_env(tmp_path, BROKER_NOTION_API_URL=str(upstream.make_url("/"))[:-1])) as run,
        ClientSession(cookie_jar=_open_jar()) as browser,
    ):
        url = await address(run)
        query = {
            "source": "app",
            "state": "daemon-state-1",
            "code_challenge": challenge(),
            "code_challenge_method": "S256",
            "device": "laptop",
        }
        departed = await browser.get(f"{url}/api/auth/notion", params=query, allow_redirects=False)
        arriving = asyncio.ensure_future(
            browser.get(
                f"{url}/api/auth/notion/callback",
                params={"state": state_of(departed), "code": "good-code"},
            )
        )
        while not notion.calls:
            async with browser.get(f"{url}/healthz"):
                pass
        run.send_signal(signal.SIGTERM)
        await _until_refused(url)
        assert notion.hold is not None
        notion.hold.set()
        arrived = await arriving
        assert arrived.status == 200
        log = await told(run)
        assert run.returncode == 0
    for secret in ("canary", "good-code", "daemon-state", "token="):
        assert secret not in log


@pytest.mark.e2e
async def test_a_taken_port_exits_with_6(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        env = an_env(tmp_path) | {"BROKER_PORT": str(taken.getsockname()[1])}
        async with a_process(env) as run:
            assert "cannot be listened on" in await told(run)
            assert run.returncode == 6


@pytest.mark.e2e
async def test_keys_that_do_not_fit_exit_with_7(tmp_path: Path) -> None:
    async with a_process(an_env(tmp_path)) as run:
        await address(run)
        run.terminate()
        await told(run)
    lines = _fresh_keys()
    async with a_process(an_env(tmp_path, **dict(lines))) as run:
        assert "BROKER_ENCRYPTION_KEYS" in await told(run)
        assert run.returncode == 7


def _fresh_keys() -> Iterable[tuple[str, str]]:

    for line in new_keys().splitlines():
        name, _, value = line.partition("=")
        yield name, value


def _open_jar() -> CookieJar:
    return CookieJar(unsafe=True)


async def _until_refused(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except (ConnectionRefusedError, ConnectionResetError):  # one in its queue is reset
            return
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("command", [each.name for each in COMMANDS])
def test_without_the_packages_of_a_broker_a_command_says_what_to_install(command: str) -> None:
    program = (
        "import sys; sys.modules.update(jwt=None, tenacity=None);"
        f"from cloud_broker.cli.main import main; sys.exit(main([{command!r}, '--help'], {{}}))"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=40)
    if command not in ("check-config", "sandbox", "ratelimit-probe", "version"):
        assert re.search("The package (jwt|tenacity) is not installed.", done.stderr)
        assert "pip install '.[broker]'" in done.stderr
        assert done.returncode == 1
    else:
        assert (done.returncode, done.stderr) == (0, "")
