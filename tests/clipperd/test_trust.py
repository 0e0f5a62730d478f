from __future__ import annotations

import datetime
import ssl
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clipperd.errors import BrokerUnreachable
from clipperd.transport import AiohttpHttp

_LOOK = """
from clipperd.process import trust
with trust.unread():
    from clipperd import daemon
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"])
"""


def self_signed(folder: Path) -> Path:
    """A certificate of 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "self.pem"
    encoding = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(private + made.public_bytes(encoding))
    return file


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
