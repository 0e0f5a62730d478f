"""Starts the other proxies of the comparison, and the upstream they all share."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
from platformdirs import user_cache_path

from tests.servers.ports import free_port

PAGE = "11111111-1111-4111-8111-111111111111"
PATH = f"/api/notion/proxy/v1/pages/{PAGE}"
SCALE = "100000"  # of the limits: nothing is refused, everything is counted
_SECRET = "a secret of the bench, as the seed's HS256 has one"
_NODE = Path(__file__).parent / "node"
_PATIENCE_S = 30.0
_PAGE_BODY = (
    f'{{"object":"page","id":"{PAGE}","parent":{{"type":"workspace","workspace":true}},'
    '"properties":{"title":{"id":"title","type":"title","title":[{"type":"text","text":'
    f'{{"content":"{"A page of usual size. " * 85}"}}}}]}}}},"in_trash":false}}'
)

_UPSTREAM = """
import asyncio, sys
ANSWER = sys.stdin.buffer.read()
class Upstream(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
    def data_received(self, data):
        *whole, self.rest = (self.rest + data).split(b"\\r\\n\\r\\n")
        self.transport.write(ANSWER * len(whole))
async def main():
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""

_BARE = """
import sys
import aiohttp
from aiohttp import web
async def session(app):
    app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=800))
    yield
    await app["session"].close()
async def relay(request):
    url = sys.argv[2] + "/v1/" + request.match_info["path"]
    headers = {"Authorization": "Bearer x", "Notion-Version": "2026-03-11"}
    async with request.app["session"].get(url, headers=headers) as found:
        return web.Response(body=await found.read(), status=found.status,
                            content_type="application/json")
app = web.Application()
app.cleanup_ctx.append(session)
app.router.add_get("/api/notion/proxy/v1/{path:.*}", relay)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""

_NGINX = """
daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/errors;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; default_type application/json;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  upstream notion { server 127.0.0.1:UPSTREAM; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:PORT;
    LOCATION
  }
}
"""
_ANSWERS = "location / { return 200 'BODY'; }"
_PASSES = """location /api/notion/proxy/ {
  proxy_pass http://notion/; proxy_http_version 1.1; proxy_set_header Connection ""; }"""


@dataclass(frozen=True)
class Side:
    """One of those that are compared: where it listens, its process, what it wants to see."""

    url: str
    pid: int
    headers: Mapping[str, str]


@contextmanager
def upstream(folder: Path, port: int) -> Iterator[str]:
    """Answer every request on ``port`` at once with a page; yields what it is."""
    nginx = find_nginx()
    if nginx is not None:
        config = _nginx_config(folder, port, 0, _ANSWERS.replace("BODY", _PAGE_BODY))
        with running([nginx, "-e", "stderr", "-p", str(folder), "-c", str(config)], port):
            yield "nginx"
        return
    body = _PAGE_BODY.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    answer = head.encode() + b"\r\n\r\n" + body
    with running([sys.executable, "-c", _UPSTREAM, str(port)], port, given=answer):
        yield "a small server of Python's (there is no nginx)"


@contextmanager
def bare(upstream_url: str, env: Mapping[str, str]) -> Iterator[Side]:
    """An aiohttp proxy that checks nothing: what the broker's own parts cost without its work."""
    port = free_port()
    argv = [sys.executable, "-c", _BARE, str(port), upstream_url]
    with running(argv, port, env=env) as pid:
        yield _side(port, pid)


@contextmanager
def nginx_proxy(nginx: str, folder: Path, upstream_port: int) -> Iterator[Side]:
    """nginx's proxy_pass, one process."""
    port = free_port()
    config = _nginx_config(folder, port, upstream_port, _PASSES)
    with running([nginx, "-e", "stderr", "-p", str(folder), "-c", str(config)], port) as pid:
        yield _side(port, pid)


@contextmanager
def express(node: str, modules: Path, upstream_url: str) -> Iterator[Side]:
    """Express 4 and fetch, the seed's shape; see node/express.js."""
    port = free_port()
    argv = [node, str(modules / "express.js"), str(port), upstream_url, _SECRET, SCALE]
    token = jwt.encode({"sub": "u", "exp": 1 << 33}, _SECRET, algorithm="HS256")
    with running(argv, port) as pid:
        yield _side(port, pid, {"Authorization": f"Bearer {token}"})


@contextmanager
def http_proxy(node: str, modules: Path, upstream_url: str) -> Iterator[Side]:
    """node's http-proxy; see node/http_proxy.js."""
    port = free_port()
    with running([node, str(modules / "http_proxy.js"), str(port), upstream_url], port) as pid:
        yield _side(port, pid)


def find_nginx() -> str | None:
    """Where nginx is; distributions put it where only root's path looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def node_modules() -> tuple[str, Path] | str:
    """node, and the folder with our programs and what they need; or why there is none.

    npm installs into the user's cache once for each content of package.json.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "there is no node or no npm"
    print_ = hashlib.sha256((_NODE / "package.json").read_bytes()).hexdigest()[:12]
    folder = user_cache_path("clipperd-bench") / print_
    folder.mkdir(parents=True, exist_ok=True)
    for file in _NODE.iterdir():
        shutil.copy(file, folder)
    if not (folder / "node_modules" / "express").is_dir():
        argv = [npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder)
            return f"npm could not install: {done.stderr.strip()[-200:]}"
    return node, folder


@contextmanager
def running(
    argv: list[str], port: int, *, env: Mapping[str, str] | None = None, given: bytes = b""
) -> Iterator[int]:
    """Run a server until the block ends; yields its pid once its port accepts."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=dict(env) if env else None) as child:
        try:
            assert child.stdin is not None
            child.stdin.write(given)
            child.stdin.close()
            _await(child, port)
            yield child.pid
        finally:
            child.terminate()


def _await(child: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"{child.args!r} does not listen")


def _nginx_config(folder: Path, port: int, upstream_port: int, location: str) -> Path:
    own = folder / f"nginx-{port}"
    own.mkdir()
    words = {"FOLDER": str(own), "UPSTREAM": str(upstream_port or 1), "PORT": str(port)}
    text = _NGINX.replace("LOCATION", location)
    for word, value in words.items():
        text = text.replace(word, value)
    file = own / "conf"
    file.write_text(text, "utf-8")
    return file


def _side(port: int, pid: int, headers: Mapping[str, str] | None = None) -> Side:
    return Side(f"http://127.0.0.1:{port}{PATH}", pid, headers or {})
