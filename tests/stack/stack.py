"""Sandbox, broker and daemon as real processes on free loopback ports, in one folder.

Each is known by its own pid and always stopped; a test can kill broker and daemon and start them
again on the same files. Limits and settle times are short, by configuration only.
"""

from __future__ import annotations

import base64
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipperd.cli.demo.web import fetch
from clipperd.client import Client, answers_of
from clipperd.process import endpoint
from tests.servers.ports import free_port
from tests.stack.browser import consent
from tests.stack.notion import Notion
from tests.stack.program import Program

MIRA = "mira@example.com"
JONAS = "jonas@example.com"
UNDER_WAY = ("queued", "sending", "retrying", "unconfirmed")
_PATIENCE_S = 45.0
_LOOK_S = 0.03

# A silent write is settled 65 s later for real; nothing in these tests arrives later than 1.2 s.
_DAEMON = {
    "CLIPPERD_SECRETS": "file",  # memory would forget the session at a kill -9
    "CLIPPERD_SETTLE_UNKNOWN_S": "4",
    "CLIPPERD_SETTLE_ANSWERED_S": "2",
    "CLIPPERD_RETRY_BASE_S": "0.1",
    "CLIPPERD_RETRY_CAP_S": "1",
    "CLIPPERD_REFRESH_S": "86400",
    "CLIPPERD_LOG_LEVEL": "debug",
}
_BROKER = {
    "BROKER_HOST": "127.0.0.1",
    "BROKER_NOTION_CLIENT_ID": "sandbox-client",
    "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
    "BROKER_LIMIT_SCALE": "1000",
    "BROKER_NOTION_RATE": "500",
    "BROKER_NOTION_BURST": "500",
    "BROKER_UPSTREAM_WRITE_S": "4",  # also the life of a dead broker's lease: 1.2 s
}


class Stack:
    """The three programs and a client. ``running`` is the way to have one."""

    def __init__(self, folder: Path, changes: Mapping[str, str]) -> None:
        """``changes`` are settings of daemon (CLIPPERD_…) and broker (BROKER_…)."""
        self.folder = folder
        self._base = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CLIPPERD_", "BROKER_"))
        }
        self.home = folder / "daemon"
        port = free_port()
        self.broker_url = f"http://127.0.0.1:{port}"
        daemon = {
            **_DAEMON,
            "CLIPPERD_HOME": str(self.home),
            "CLIPPERD_BROKER_URL": self.broker_url,
        }
        daemon["CLIPPERD_SECRETS_PASSPHRASE"] = secrets.token_urlsafe(18)
        broker = {
            **_BROKER,
            "BROKER_PORT": str(port),
            "BROKER_PUBLIC_URL": self.broker_url,
            "BROKER_DATABASE_URL": f"sqlite:///{folder / 'broker.db'}",
            "BROKER_ENCRYPTION_KEYS": _new_key(),
            "BROKER_SIGNING_KEYS": _new_key(),
        }
        for name, value in changes.items():
            (daemon if name.startswith("CLIPPERD_") else broker)[name] = value
        self.daemon_env = daemon
        # Both sides must know the sandbox's address before it listens, so it is chosen here.
        sandbox_port = free_port()
        self.notion = Notion(f"http://127.0.0.1:{sandbox_port}")
        broker["BROKER_NOTION_API_URL"] = self.notion.url
        ready = folder / "sandbox.url"
        argv = ["cloud_broker", "sandbox", "--port", str(sandbox_port), "--rate", "0"]
        argv += ["--ready-file", str(ready)]
        self._ready = ready
        self.sandbox = Program("sandbox", argv, self._base, folder / "sandbox.txt")
        self.broker = Program(
            "broker", ["cloud_broker", "run"], self._base | broker, folder / "broker.txt"
        )
        self.daemon = Program(
            "daemon", ["clipperd", "run"], self._base | daemon, folder / "daemon.txt"
        )
        self.client = Client(lambda: endpoint.read(self.home / "endpoint.json"))

    # --- processes ------------------------------------------------------------------------

    def open_sandbox(self) -> None:
        """Start the stand-in for Notion."""
        self.sandbox.start(self._ready.exists)

    def open_broker(self) -> None:
        """Start the broker and wait until it is ready."""
        self.broker.start(lambda: _answers(f"{self.broker_url}/readyz"))

    def close_broker(self) -> None:
        """Stop the broker politely."""
        self.broker.stop()

    def kill_broker(self) -> None:
        """kill -9."""
        self.broker.kill()

    def open_daemon(self) -> None:
        """Start the daemon and wait until this very process has proven itself."""

        def is_ready() -> bool:
            file = self.home / "endpoint.json"
            # A client of its own: the file of a killed daemon is still there.
            found = answers_of(Client(lambda: endpoint.read(file)))
            return found is not None and found.pid == self.daemon.pid

        self.daemon.start(is_ready)

    def close_daemon(self) -> None:
        """Stop the daemon politely."""
        self.daemon.stop()

    def kill_daemon(self) -> None:
        """kill -9."""
        self.daemon.kill()

    def restart_daemon(self) -> None:
        """kill -9 and start again."""
        self.kill_daemon()
        self.open_daemon()

    def close(self) -> None:
        """Stop everything, the last one started first."""
        for program in (self.daemon, self.broker, self.sandbox):
            program.stop()

    def subscribe(self) -> None:
        """Have Notion send its webhooks to a broker that was told ``BROKER_WEBHOOK_PENDING``.

        A daemon hears that they are expected when it opens its next stream.
        """
        hook = f"{self.broker_url}/api/notion/webhook"
        asked = {"url": hook, "aggregation_ms": 0, "verify": True}
        assert self.notion.ask("POST", "webhooks", asked)["state"] == "active"

    def until_told(self) -> None:
        """Wait until changes of pages are told to the daemon."""
        self.until(lambda: self.client.status()["push"]["state"] == "up", "the stream is not up")

    # --- the person -----------------------------------------------------------------------

    def sign_in(self, user: str = MIRA, **more: str) -> dict[str, Any]:
        """Sign in through the real OAuth flow; return the session."""
        begun = self.client.login("sign_in")
        consent(begun["login_url"], user=user, **more)
        session: dict[str, Any] = {}

        def arrived() -> bool:
            session.update(self.client.session())
            return session["state"] == "signed_in" and bool(session["user"]["email"] == user)

        self.until(arrived, "the sign-in did not arrive")
        self.indexed()
        return session

    def indexed(self) -> None:
        """Wait until the page list has been read to its end."""
        self.until(
            lambda: (self.client.pages(view="recent", limit=1).get("index") or {}).get("complete"),
            "the page list was not read",
        )

    def clip(
        self,
        targets: str | Sequence[Mapping[str, Any]],
        content: object,
        position: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Post a clip: one page id (with ``position``) or targets; a text or any content."""
        if isinstance(targets, str):
            target: dict[str, Any] = {"page_id": targets}
            targets = [target | ({"position": dict(position)} if position else {})]
        if isinstance(content, str):
            content = {"format": "text", "text": content}
        return self.client.clip({"targets": list(targets), "content": content, **more}, key)

    def settled(self, clip: Mapping[str, Any]) -> dict[str, Any]:
        """The clip once nothing of it is under way any more."""
        return self.until_clip(clip, lambda now: now["state"] not in UNDER_WAY)

    def until_clip(
        self, clip: Mapping[str, Any], holds: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """The clip once ``holds`` is true of it."""
        seen: dict[str, Any] = {}

        def look() -> bool:
            seen.clear()
            seen.update(self.client.one_clip(clip["id"]))
            return holds(seen)

        self.until(look, lambda: f"the clip stays {seen}")
        return seen

    def delivered(self, *clips: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The clips, each delivered."""
        done = [self.settled(clip) for clip in clips]
        assert {clip["state"] for clip in done} == {"delivered"}, done
        return done

    def drained(self, within_s: float = _PATIENCE_S) -> dict[str, Any]:
        """The queue's counts once nothing is under way."""
        counts: dict[str, Any] = {}

        def empty() -> bool:
            counts.update(self.client.status()["queue"])
            return not any(counts[state] for state in UNDER_WAY)

        self.until(empty, lambda: f"the queue does not come to rest: {counts}", within_s)
        return counts

    def until(
        self,
        holds: Callable[[], object],
        otherwise: str | Callable[[], str],
        within_s: float = _PATIENCE_S,
    ) -> None:
        """Wait until ``holds``; fail with ``otherwise`` and the daemon's last words."""
        end = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
            time.sleep(_LOOK_S)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the queue, so that several clips wait together; it moves on afterwards."""
        self.client.queue("pause")
        try:
            yield
        finally:
            self.client.queue("resume")


@contextmanager
def running(folder: Path, **changes: str) -> Iterator[Stack]:
    """A stack with everything up and Mira signed in; all is stopped in any case."""
    with running_after(lambda _: None, folder, changes) as stack:
        yield stack


@contextmanager
def running_after(
    prepare: Callable[[Stack], None], folder: Path, changes: Mapping[str, str]
) -> Iterator[Stack]:
    """The same after ``prepare``, which gets the stack before anything is started."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder, changes)
    try:
        prepare(stack)
        stack.open_sandbox()
        stack.open_broker()
        stack.open_daemon()
        stack.sign_in()
        yield stack
    finally:
        stack.close()


def _new_key() -> str:
    return "k1:" + base64.b64encode(os.urandom(32)).decode()


def _answers(url: str) -> bool:
    try:
        return fetch("GET", url)[0] == 200
    except OSError:
        return False
