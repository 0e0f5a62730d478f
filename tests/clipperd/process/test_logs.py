"""The log's form and rotation; secrets cannot get through it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import resource
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipperd.errors import InvalidInput
from clipperd.process import logs
from clipperd.process.logs import Logs, Redactor

log = logging.getLogger("clipperd.test")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Logs, Path]]:
    level = logging.getLogger().level
    started = logs.start("info", tmp_path / "clipperd.log")
    yield started, tmp_path / "clipperd.log"
    started.close()
    logging.captureWarnings(capture=False)
    logging.getLogger().setLevel(level)


def _lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_is_json_with_its_extras(opened: tuple[Logs, Path]) -> None:
    log.info("delivered %d", 3, extra={"page_id": "p"})
    (line,) = _lines(opened[1])
    assert (line["level"], line["message"], line["page_id"]) == ("info", "delivered 3", "p")
    assert str(line["at"]).endswith("Z")


def test_the_file_is_private(opened: tuple[Logs, Path]) -> None:
    assert stat.S_IMODE(opened[1].stat().st_mode) == 0o600


@pytest.mark.parametrize("secret", ["pass phrase", 'quo"ted\\secret', "zürich-geheim"])
def test_a_registered_value_is_masked_wherever_it_is(
    opened: tuple[Logs, Path], secret: str
) -> None:
    opened[0].redactor.add(secret)
    log.info("got %s", secret, extra={"also": {"deep": secret}})
    text = opened[1].read_text()
    assert secret not in text
    assert json.dumps(secret)[1:-1] not in text
    assert text.count(logs.MASK) == 2


@pytest.mark.parametrize(
    "secret",
    ["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1In0.c2ln", "ntn_1234567890abcdefABCD", "Bearer abcdefgh.ij"],
)
def test_shapes_of_secrets_are_masked_unregistered(opened: tuple[Logs, Path], secret: str) -> None:
    log.warning("saw %s there", secret)
    assert secret not in opened[1].read_text()


def test_a_foreign_error_does_not_speak(opened: tuple[Logs, Path]) -> None:
    try:
        raise ValueError("the clip's own words")
    except ValueError:
        log.exception("that failed")
    (line,) = _lines(opened[1])
    assert "own words" not in opened[1].read_text()
    assert isinstance(line["error"], dict)
    assert line["error"]["type"] == "ValueError"
    assert line["error"]["trace"]


def test_an_error_that_quotes_a_cell_does_not_speak(opened: tuple[Logs, Path]) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for sql in ("SELECT CAST(x'ff' || 'canary of a clip' AS TEXT)", "SELECT * FROM absent"):
            try:
                connection.execute(sql).fetchall()
            except sqlite3.Error:
                log.exception("that failed")
    written = opened[1].read_text()
    assert "canary" not in written
    assert "no such table: absent" in written  # SQLite's own sentence


def test_our_own_error_speaks(opened: tuple[Logs, Path]) -> None:
    try:
        raise InvalidInput("Too long.")
    except InvalidInput:
        log.exception("that failed")
    assert "Too long." in opened[1].read_text()


def test_it_rotates_and_keeps_five_private_files(tmp_path: Path) -> None:
    started = logs.start("warning", tmp_path / "l", file_bytes=100)
    for number in range(20):
        log.warning("a line that is long enough to fill a file %d", number)
    started.close()
    logging.captureWarnings(capture=False)
    assert len(list(tmp_path.iterdir())) == logs.FILES
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}


def test_the_screen_gets_the_same_lines(tmp_path: Path) -> None:
    screen = io.StringIO()
    started = logs.start("warning", tmp_path / "l", screen=screen)
    log.warning("hello")
    started.close()
    logging.captureWarnings(capture=False)
    assert json.loads(screen.getvalue())["message"] == "hello"


def test_only_the_newest_values_are_kept() -> None:
    redactor = Redactor()
    for number in range(1200):
        redactor.add(f"token-{number:05d}")
    assert redactor.mask("token-01199") == logs.MASK
    assert redactor.mask("token-00001") == "token-00001"
    assert redactor.mask("short a") == "short a"


def test_a_full_disk_costs_lines_but_neither_the_log_nor_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, level = tmp_path / "clipperd.log", logging.getLogger().level
    started = logs.start("info", file, file_bytes=2_000)
    started.redactor.add("a-canary")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        log.info("before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
        try:
            for number in range(100):  # past a rotation
                log.info("no room %d %s", number, "a-canary")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.info("after")
    finally:
        started.close()
        logging.captureWarnings(capture=False)
        logging.getLogger().setLevel(level)
    assert _lines(file)[-1]["message"] == "after"
    assert capsys.readouterr().err == ""  # logging would print there what is not masked
