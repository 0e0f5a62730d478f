from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clipperd.broker.http import AiohttpHttp
from clipperd.errors import BrokerUnreachable
from tests.stack.certificate import self_signed

_LOAD = """
import gc, os, sys
from clipperd.process import loading
before = dict(os.environ)
with loading.lean():
    from clipperd.daemon import process
assert dict(os.environ) == before
"""
_CERTIFICATES = """
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"])
"""
_LIBRARIES = """
print("libstdc++" in open("/proc/self/maps").read() if sys.platform == "linux" else False)
"""
_COLLECTED = """
frozen = gc.get_freeze_count()
print(gc.isenabled(), gc.get_stats()[2]["collections"], frozen > len(gc.get_objects()))
"""


async def served(file: Path) -> TestServer:
    """An https server that says hello."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    return server


def loaded(then: str) -> str:
    """Return the output of a process that has loaded the daemon's modules."""
    argv = [sys.executable, "-c", _LOAD + then]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_starting_the_daemon_reads_no_certificates() -> None:
    assert loaded(_CERTIFICATES) == "0"


def test_starting_the_daemon_loads_no_library_of_cpp() -> None:
    assert loaded(_LIBRARIES) == "False"


def test_modules_are_never_looked_through_for_cycles() -> None:
    assert loaded(_COLLECTED) == "True 0 True"


async def test_the_first_https_request_believes_the_certificates_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = self_signed(tmp_path)
    server, http = await served(file), AiohttpHttp()
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    answer = await http.request("GET", server.make_url("/"), headers={}, body=None, total_s=5)
    await http.close()
    await server.close()
    assert answer.body == b"hello"


async def test_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    server, http = await served(self_signed(tmp_path)), AiohttpHttp()
    with pytest.raises(BrokerUnreachable, match="certificate is not trusted"):
        await http.request("GET", server.make_url("/"), headers={}, body=None, total_s=5)
    await http.close()
    await server.close()
