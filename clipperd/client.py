"""A typed client of the local API, for the command line and the tray.

Uses the standard library's HTTP: loading aiohttp takes longer than a whole command. Every
connection first asks the daemon for its proof (``POST /v1/hello``), so that another program on the
port of a dead daemon never receives the token. Ignores proxies.
"""

from __future__ import annotations

import hmac
import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from clipperd.broker.sse import FrameParser
from clipperd.process import endpoint as endpoints
from clipperd.process.endpoint import Endpoint
from clipperd.process.errors import ApiError, DaemonDown, DaemonUntrusted

Json = dict[str, Any]
Find = Callable[[], Endpoint | None]
_REQUEST_TIMEOUT_S = 60.0
_STREAM_TIMEOUT_S = 60.0  # the daemon sends a heartbeat every 25 s
_DOWN_HINT = "Start it with: clipperd start"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event with its decoded JSON data."""

    type: str
    data: Any
    id: str | None = None


def pause(seconds: float) -> None:
    """Block for ``seconds``; for commands that wait for the daemon."""
    time.sleep(seconds)


def read_events(lines: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Parse the lines of an event stream. An event without an id keeps the id before it."""
    frames, last_id = FrameParser(limit_bytes=None), None
    for line in lines:
        for frame in frames.feed(line):
            last_id = frame.id or last_id
            yield ServerEvent(frame.event, json.loads(frame.data), last_id)


class Client:
    """A client of one daemon; finds it again after it moved to another port."""

    def __init__(
        self, find: Find, *, nonce: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        """``find`` reads endpoint.json; ``nonce`` gives 128 random bits or more."""
        self._find = find
        self._nonce = nonce
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Return the published endpoint. Raises DaemonDown when there is none."""
        if self._endpoint is None:
            self._endpoint = self._find()
        if self._endpoint is None:
            raise DaemonDown("clipperd is not running.", hint=_DOWN_HINT)
        return self._endpoint

    def hello(self) -> Endpoint:
        """Return the endpoint after the daemon has proven its identity. Sends no secret."""
        connection = self._connect(_REQUEST_TIMEOUT_S)
        connection.close()
        return self.endpoint

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Send one request; return the JSON object of the answer ({} when it has no body).

        Raises ApiError with the daemon's problem, DaemonDown, DaemonUntrusted. Never repeats a
        request that the daemon may have received.
        """
        target = path + _query(query)
        response, payload = self._exchange(method, target, body, headers or {})
        if response.status == 401 and self._moved():
            response, payload = self._exchange(method, target, body, headers or {})
        if response.status >= 400:
            raise ApiError(response.status, payload)
        return payload

    def events(
        self, types: Iterable[str] = (), last_id: str | None = None
    ) -> Iterator[ServerEvent]:
        """Yield the event stream until it ends. Raises ApiError, DaemonDown, DaemonUntrusted."""
        connection = self._connect(_STREAM_TIMEOUT_S)
        headers = self._authorized({"Accept": "text/event-stream"})
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        try:
            target = "/v1/events" + _query({"types": ",".join(types) or None})
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise ApiError(response.status, _decode(response.read()))
            yield from read_events(response)
        except (OSError, http.client.HTTPException) as error:
            raise DaemonDown("clipperd closed the event stream.", hint=_DOWN_HINT) from error
        finally:
            connection.close()

    # --- the routes that commands use -----------------------------------------------------

    def status(self) -> Json:
        """GET /v1/status."""
        return self.ask("GET", "/v1/status")

    def session(self) -> Json:
        """GET /v1/session."""
        return self.ask("GET", "/v1/session")

    def login(self, purpose: str) -> Json:
        """POST /v1/session/login with the loopback return: login_id, login_url, expires_in."""
        body = {"return": "loopback", "purpose": purpose}
        return self.ask("POST", "/v1/session/login", body=body)

    def login_status(self, login_id: str) -> Json:
        """GET /v1/session/login/{login_id}."""
        return self.ask("GET", f"/v1/session/login/{quote(login_id, safe='')}")

    def finish_login(self, url: str) -> Json:
        """POST /v1/session/callback with the address to which the browser was sent."""
        return self.ask("POST", "/v1/session/callback", body={"url": url})

    def cancel_login(self, login_id: str) -> None:
        """DELETE /v1/session/login/{login_id}."""
        self.ask("DELETE", f"/v1/session/login/{quote(login_id, safe='')}")

    def logout(self) -> Json:
        """DELETE /v1/session."""
        return self.ask("DELETE", "/v1/session")

    def workspaces(self) -> list[Json]:
        """The items of GET /v1/workspaces."""
        return items(self.ask("GET", "/v1/workspaces"))

    def use_workspace(self, workspace_id: str) -> Json:
        """PUT /v1/workspaces/current."""
        return self.ask("PUT", "/v1/workspaces/current", body={"workspace_id": workspace_id})

    def pages(self, **query: Any) -> Json:
        """GET /v1/pages with ``view``, ``q``, ``kind``, ``limit``, ``cursor``, ``remote``."""
        return self.ask("GET", "/v1/pages", query=query)

    def outline(self, page_id: str, freshness: str) -> Json:
        """GET /v1/pages/{id}/outline."""
        return self.ask("GET", f"/v1/pages/{page_id}/outline", query={"freshness": freshness})

    def clip(self, body: Json, idempotency_key: str | None = None) -> Json:
        """POST /v1/clips; returns the accepted clip."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self.ask("POST", "/v1/clips", body=body, headers=headers)

    def convert(self, content: Any) -> Json:
        """POST /v1/convert."""
        return self.ask("POST", "/v1/convert", body={"content": content})

    def clips(self, **query: Any) -> Json:
        """GET /v1/clips with ``state``, ``page_id``, ``q``, ``limit``, ``cursor``."""
        return self.ask("GET", "/v1/clips", query=query)

    def every_clip(self, **query: Any) -> Iterator[Json]:
        """Yield every matching clip, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.clips(**query, limit=100, cursor=cursor)
            yield from items(page)
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def one_clip(self, clip_id: str) -> Json:
        """GET /v1/clips/{id}."""
        return self.ask("GET", f"/v1/clips/{quote(clip_id, safe='')}")

    def content(self, clip_id: str, **query: Any) -> Json:
        """GET /v1/clips/{id}/content, with ``account``."""
        return self.ask("GET", f"/v1/clips/{quote(clip_id, safe='')}/content", query=query)

    def act(self, clip_id: str, action: str, *, account: str | None = None, **body: Any) -> Json:
        """POST /v1/clips/{id}/{retry|cancel|undo|resolve}."""
        path = f"/v1/clips/{quote(clip_id, safe='')}/{action}"
        return self.ask("POST", path, body=_given(**body), query={"account": account})

    def edit(self, clip_id: str, version: int, **body: Any) -> Json:
        """PATCH /v1/clips/{id}: raises ApiError if the clip has changed since ``version``."""
        headers = {"If-Match": str(version)}
        path = f"/v1/clips/{quote(clip_id, safe='')}"
        return self.ask("PATCH", path, body=_given(**body), headers=headers)

    def delete(self, clip_id: str) -> Json:
        """DELETE /v1/clips/{id}."""
        return self.ask("DELETE", f"/v1/clips/{quote(clip_id, safe='')}")

    def adopt(self, user_id: str, workspace_id: str | None) -> Json:
        """POST /v1/queue/adopt."""
        body = _given(user_id=user_id, workspace_id=workspace_id)
        return self.ask("POST", "/v1/queue/adopt", body=body)

    def queue(self, action: str, **body: Any) -> Json:
        """POST /v1/queue/{pause|resume|retry}."""
        return self.ask("POST", f"/v1/queue/{action}", body=_given(**body))

    def shutdown(self, when: str) -> Json:
        """POST /v1/shutdown: ``now`` or ``idle``."""
        return self.ask("POST", "/v1/shutdown", body={"when": when})

    # --- connections ----------------------------------------------------------------------

    def _exchange(
        self, method: str, target: str, body: Json | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, Json]:
        connection = self._connect(_REQUEST_TIMEOUT_S)
        sent = self._authorized(headers)
        raw = None
        if body is not None:
            raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, target, body=raw, headers=sent)
            response = connection.getresponse()
            return response, _decode(response.read())
        except (OSError, http.client.HTTPException) as error:
            raise DaemonDown(
                "clipperd stopped before it answered. It may have done what you asked.",
                hint="Check before you repeat the command: clipperd status",
            ) from error
        finally:
            connection.close()

    def _authorized(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, "Authorization": f"Bearer {self.endpoint.token}"}

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Open a connection to a program that has proven to hold the token."""
        try:
            return self._prove(timeout_s)
        except (DaemonDown, DaemonUntrusted):
            if not self._moved():
                raise
            return self._prove(timeout_s)

    def _prove(self, timeout_s: float) -> http.client.HTTPConnection:
        found = self.endpoint
        nonce = self._nonce()
        connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=timeout_s)
        try:
            connection.connect()
            # Otherwise http.client reconnects after the proof, possibly to another program.
            connection.auto_open = 0
            connection.request(
                "POST",
                "/v1/hello",
                body=json.dumps({"nonce": nonce}),
                headers={"Content-Type": "application/json"},
            )
            answer = _decode(connection.getresponse().read(4096))
        except ConnectionRefusedError as error:
            connection.close()
            raise DaemonDown("clipperd is not running.", hint=_DOWN_HINT) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise DaemonDown("clipperd does not answer.", hint=_DOWN_HINT) from error
        expected = endpoints.proof(found.token, nonce, found.port, found.instance_id)
        if not hmac.compare_digest(expected.encode(), str(answer.get("proof")).encode()):
            connection.close()
            raise DaemonUntrusted(
                f"The program on port {found.port} is not your clipperd. No data was sent to it.",
                hint="Restart clipperd with: clipperd restart",
            )
        return connection

    def _moved(self) -> bool:
        """Read endpoint.json again; return whether it names another daemon or token."""
        before, self._endpoint = self._endpoint, self._find()
        return self._endpoint is not None and self._endpoint != before


def answers_of(client: Client) -> Endpoint | None:
    """Return the endpoint if a daemon answers and proves its identity."""
    try:
        return client.hello()
    except (DaemonDown, DaemonUntrusted):
        return None


def until(patience_s: float | None) -> Iterator[float]:
    """Yield the elapsed seconds, at least once, until ``patience_s`` are over; None: forever."""
    started = time.monotonic()
    while True:
        elapsed_s = time.monotonic() - started
        yield elapsed_s
        if patience_s is not None and elapsed_s >= patience_s:
            return


def _query(values: Mapping[str, Any] | None) -> str:
    given = _given(**(values or {}))
    return "?" + urlencode(given) if given else ""


def _given(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def items(answer: Json) -> list[Json]:
    """Return the objects of a list answer, under any field name."""
    return next((list(found) for found in answer.values() if isinstance(found, list)), [])


def _decode(raw: bytes) -> Json:
    try:
        value = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {"items": value}
