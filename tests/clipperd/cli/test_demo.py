"""The demo as the user runs it, and the functions that judge its steps."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipperd.cli.demo.processes import Interruption
from clipperd.cli.demo.sandbox import section_of
from clipperd.cli.demo.steps import readme
from clipperd.cli.demo.web import DemoFailed, fetch, sign_in
from clipperd.client import pause, until


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_the_demo_proves_its_four_steps_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clipperd", "demo", "--once"],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Open this page and watch:  http://127.0.0.1:")
    assert "All four steps were proven on the page." in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_a_demo_that_is_ended_stops_all_it_started(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "clipperd", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as demo:
        assert demo.stdout is not None
        line = demo.stdout.readline()
        url = re.search(r"http://\S+", line)
        assert url is not None
        assert fetch("GET", url.group())[0] == 200
        demo.send_signal(signal.SIGTERM)
        demo.stdout.read()
        assert demo.wait() == 0
    for _ in until(5):
        if not _answers(url.group()):
            break
        pause(0.05)
    assert not _answers(url.group())
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_is_held_back_while_a_child_is_born() -> None:
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.getsignal(name) for name in names}
    interruption = Interruption()
    born = []

    def birth() -> None:
        with interruption.deferred():
            signal.raise_signal(signal.SIGTERM)
            born.append("child")

    interruption.listen()
    try:
        with pytest.raises(KeyboardInterrupt):
            birth()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert born == ["child"]


def test_a_section_ends_at_a_heading_of_its_level_or_above() -> None:
    page = [
        _heading(1, "A"),
        _text("a"),
        _heading(2, "A.1"),
        _text("b"),
        _heading(1, "B"),
        _text("c"),
    ]
    assert [block["id"] for block in section_of(page, "A")] == ["a", "A.1", "b"]
    assert [block["id"] for block in section_of(page, "A.1")] == ["b"]
    assert [block["id"] for block in section_of(page, "B")] == ["c"]


def test_a_missing_section_is_a_failure() -> None:
    with pytest.raises(DemoFailed):
        section_of([_text("a")], "B")


def test_nothing_of_the_demo_leaves_the_machine() -> None:
    for url in ("http://example.org/", "https://127.0.0.1/"):
        with pytest.raises(DemoFailed):
            sign_in(url)


def test_there_is_always_a_markdown_text() -> None:
    name, text = readme()
    assert name
    assert "# " in text


def _heading(level: int, text: str) -> dict[str, object]:
    kind = f"heading_{level}"
    return {"id": text, "type": kind, kind: {"rich_text": [{"plain_text": text}]}}


def _text(text: str) -> dict[str, object]:
    return {"id": text, "type": "paragraph", "paragraph": {"rich_text": [{"plain_text": text}]}}


def _answers(url: str) -> bool:
    try:
        return fetch("GET", url)[0] == 200
    except OSError:
        return False


def test_without_the_packages_of_a_broker_the_demo_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules.update(jwt=None, tenacity=None);"
        "from clipperd.cli.main import main; sys.exit(main(['demo', '--once']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, "pip install '.[broker]'" in done.stderr) == (1, True), done.stderr
