"""The daemon ends, by request or by force, while work is in progress."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from clipperd.process.errors import DaemonDown
from tests.stack.notion import APPEND
from tests.stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_a_stop_waits_for_no_write_read_or_stream_and_loses_nothing(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    page = stack.notion.page("Stopped", "first")
    stack.notion.misbehave(
        {"kind": "hold", "route": APPEND},
        {"kind": "hold", "route": "GET *"},
    )
    clips = [stack.clip(page.id, text) for text in ("under way", "behind it", "last")]
    stack.until_clip(clips[0], lambda now: now["state"] == "sending")
    with ThreadPoolExecutor() as pool, _reader_that_takes_nothing(stack):
        hanging = pool.submit(stack.client.outline, page.id, "verified")
        stack.until(lambda: "GET" in str(stack.notion.calls()), "the read does not get through")
        begun = time.monotonic()
        stack.daemon.terminate()
        status = stack.daemon.wait()
        took = time.monotonic() - begun
        with pytest.raises(DaemonDown):
            hanging.result()
    record_property("table: Seconds from SIGTERM to the end", f"{took:.2f}")
    assert status == 0
    assert not (stack.home / "endpoint.json").exists()
    stack.notion.behave()
    stack.open_daemon()
    stack.delivered(*clips)
    assert stack.notion.texts(page.id) == ["first", "under way", "behind it", "last"]


@contextmanager
def _reader_that_takes_nothing(stack: Stack) -> Iterator[None]:
    """An event stream that nobody reads."""
    mine = stack.client.hello()
    with socket.create_connection(("127.0.0.1", mine.port)) as line:
        head = f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{mine.port}\r\n"
        line.sendall(f"{head}Authorization: Bearer {mine.token}\r\n\r\n".encode())
        assert line.recv(12) == b"HTTP/1.1 200"
        yield


def test_a_crash_leaves_stacks_and_the_last_lines_of_the_log_and_no_secret(stack: Stack) -> None:
    page = stack.notion.page("canary-title", "first")
    token = stack.client.hello().token
    with stack.paused():
        clip = stack.clip(page.id, "canary-text")
        os.kill(stack.daemon.pid, signal.SIGSEGV)
        assert stack.daemon.wait() == -signal.SIGSEGV
        stack.open_daemon()
    (left,) = [file for file in (stack.home / "logs").glob("crash-*.txt") if file.stat().st_size]
    told = left.read_text("utf-8")
    assert "Fatal Python error: Segmentation fault" in told
    assert "Current thread" in told
    assert '"message": "POST /v1/clips 202' in told
    passphrase = stack.daemon_env["CLIPPERD_SECRETS_PASSPHRASE"]
    for secret in (token, passphrase, "canary-text", "canary-title"):
        assert secret not in told
    stack.delivered(clip)
    assert stack.notion.texts(page.id) == ["first", "canary-text"]
