from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clipperd.errors import BrokerUnreachable
from clipperd.transport import AiohttpHttp
from tests.stack.certificate import self_signed

_LOOK = """
from clipperd.process import trust
with trust.unread():
    from clipperd import daemon
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"])
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


def test_starting_the_daemon_reads_no_certificates() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "0"


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


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    server, http = await served(self_signed(tmp_path)), AiohttpHttp()
    with pytest.raises(BrokerUnreachable, match="certificate is not trusted"):
        await http.request("GET", server.make_url("/"), headers={}, body=None, total_s=5)
    await http.close()
    await server.close()
