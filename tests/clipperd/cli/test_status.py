"""The verbs status, events and version; the help."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipperd import __version__
from clipperd.cli.main import parser
from clipperd.process import endpoint, lock
from tests.clipperd.cli.commands import clipperd, run
from tests.clipperd.fake_daemon import FakeDaemon, running

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


async def test_status_tells_connection_queue_and_pages(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "status")
    assert result.code == 0
    for part in ("process 4242", "offline; clips are kept", "2 queued, 1 needs attention", "1500"):
        assert part in result.out


async def test_status_as_json_never_holds_the_token(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "status", "--json")
    assert json.loads(result.out)["endpoint"]["pid"] == 4242
    assert fake.token not in result.out


def test_status_without_a_daemon_says_how_to_start_it(tmp_path: Path) -> None:
    result = run(tmp_path, "status")
    assert (result.code, result.out) == (
        1,
        "clipperd is not running.\n  Start it with: clipperd start\n",
    )


async def test_status_tells_that_it_was_killed(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    result = await clipperd(tmp_path, "status")
    assert "did not end cleanly" in result.out


async def test_status_names_a_stranger_on_the_port(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.proves = False
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "status", "--json")
    assert json.loads(result.out)["code"] == "daemon_untrusted"


def test_status_names_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    held = lock.acquire(tmp_path / "clipperd.lock")
    result = run(tmp_path, "status")
    held.release()
    assert "its API does not answer" in result.out


async def test_events_are_printed_as_they_come(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        fake.events = [("clip", {"id": "c", "state": "delivered", "title": "T"})]
        result = await clipperd(tmp_path, "events", "--types", "clip")
        as_json = await clipperd(tmp_path, "events", "--json")
    assert result.out.split() == ["clip", "delivered", "T", "c"]
    assert json.loads(as_json.out)["type"] == "clip"
    assert result.code == 1


def test_version_is_printed_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--version").code == 0
    assert capsys.readouterr().out == f"clipperd {__version__}\n"
    assert json.loads(run(tmp_path, "version", "--json").out)["clipperd"] == __version__


def test_every_verb_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser().format_help().count("clipperd") > 5
    for verb in _verbs(parser().format_help()):
        with pytest.raises(SystemExit):
            parser(verb).parse_args([verb, "--help"])
        assert f"usage: clipperd {verb}" in (shown := capsys.readouterr().out)
        assert "examples:" in shown


def test_every_verb_and_option_is_in_the_document() -> None:
    table = DOCS.read_text("utf-8").partition("## clipperd")[2].partition("## cloud-broker")[0]
    documented = " ".join(re.findall(r"`[^`]+`", table)) + " --help --home --json"
    words = set(_words(parser()))
    assert {w for w in words if not re.search(rf"(?<![\w-]){w}(?![\w-])", documented)} == set()


def test_a_verb_is_found_behind_a_home_that_is_called_like_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(Path("queue"), "version").code == 0


def test_for_a_known_verb_only_its_family_is_declared() -> None:
    assert _verbs(parser("run").format_help()) == ["run", "start", "stop", "restart"]
    assert _verbs(parser("nope").format_help()) == _verbs(parser().format_help())


@pytest.mark.parametrize("argv", [(), ("nope",), ("clip",), ("queue", "resolve", "x")])
def test_a_wrong_command_line_exits_2(
    tmp_path: Path, argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *argv).code == 2
    assert "usage:" in capsys.readouterr().err


def test_errors_are_json_for_programs(tmp_path: Path) -> None:
    result = run(tmp_path, "pages", "--json")
    assert json.loads(result.err)["error"]["code"] == "daemon_down"


def test_help_loads_nothing_slow() -> None:
    code = "import sys, clipperd.cli.main as m; m.parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"aiohttp", "sqlite3", "ssl", "http.client", "asyncio", "msgspec", "tomllib", "keyring"}
    assert not slow & set(done.stdout.split())


def test_an_unreadable_endpoint_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text("{")
    assert endpoint.read(tmp_path / "endpoint.json") is None
    assert run(tmp_path, "status").code == 1


def _words(of: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the verbs and long options of a parser and of those below it."""
    for action in of._actions:
        yield from (word for word in action.option_strings if word.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for verb, below in action.choices.items():
                yield verb
                yield from _words(below)


def _verbs(text: str) -> list[str]:
    listed = text.split("VERB\n", 1)[1].split("examples:", maxsplit=1)[0]
    return [
        line.split()[0]
        for line in listed.splitlines()
        if line.startswith("    ") and line[4:5] != " "
    ]


@pytest.mark.parametrize(
    "argv",
    [
        ("stop",),
        ("logout",),
        ("queue", "pause"),
        ("queue", "resume"),
        ("config", "set", "log_level", "debug"),
        ("status",),
    ],
)
async def test_every_verb_prints_json_wherever_it_is_asked_for(
    tmp_path: Path, argv: tuple[str, ...]
) -> None:
    async with running(tmp_path):
        for words in ((*argv, "--json"), ("--json", *argv)):
            result = await clipperd(tmp_path, *words)
            assert isinstance(json.loads(result.out), dict), words
