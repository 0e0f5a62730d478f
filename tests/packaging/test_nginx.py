"""The proxy in front: TLS, the client's address, streams, and a log without secrets."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud_broker.settings.table import SETTINGS
from cloud_broker.web.inbound import HEAD_WITHIN_S, IDLE_S
from cloud_broker.web.proxy import SEND_MAX_BYTES
from tests.packaging.parts import BROKER, nginx

DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
TOP = nginx()
PLAIN, TLS = (block for block in TOP.blocks if block.head == ("server",))
UPSTREAM = TOP.inside("upstream", "cloud_broker")
HEARTBEAT_S = 25.0


def seconds(words: tuple[str, ...]) -> float:
    (text,) = words
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def test_everything_goes_over_tls() -> None:
    assert PLAIN.one("return") == ("308", "https://$host$request_uri")
    assert not PLAIN.blocks
    assert all("ssl" in words for words in TLS.directives["listen"])
    assert set(TLS.one("ssl_protocols")) == {"TLSv1.2", "TLSv1.3"}
    assert ("Strict-Transport-Security", "max-age=31536000", "always") in TLS.directives[
        "add_header"
    ]


def test_what_a_caller_claims_about_its_address_is_not_passed_on() -> None:
    assert ("X-Forwarded-For", "$remote_addr") in TLS.directives["proxy_set_header"]
    # A location that sets a header itself would lose all of the server's.
    assert not [block.head for block in TLS.blocks if "proxy_set_header" in block.directives]


def test_no_log_has_a_query_of_an_address() -> None:
    logged = " ".join(TOP.one("log_format"))
    found = set(re.findall(r"\$(\w+)", logged))
    assert "uri" in found
    assert not found & {"request", "request_uri", "args", "query_string", "http_referer", "is_args"}
    assert TLS.one("access_log")[1:] == ("cloud_broker",)
    assert PLAIN.one("access_log") == ("off",)
    # nginx's own complaints quote the request line: none below crit where codes travel.
    assert TLS.inside("location", "/api/auth/").one("error_log")[1] == "crit"


def test_events_are_passed_on_at_once_and_for_as_long_as_they_come() -> None:
    events = TLS.inside("location", "=", "/api/events")
    assert events.one("proxy_buffering") == ("off",)
    assert events.one("gzip") == ("off",)
    assert seconds(events.one("proxy_read_timeout")) > 2 * HEARTBEAT_S


def test_slow_callers_end_at_the_proxy() -> None:
    assert seconds(TLS.one("client_header_timeout")) <= HEAD_WITHIN_S
    assert seconds(TLS.one("client_body_timeout")) <= 30


def test_the_broker_has_the_time_to_answer() -> None:
    within_s = float(DEFAULTS["BROKER_ANSWER_WITHIN_S"] or 0)
    assert seconds(TLS.one("proxy_read_timeout")) > within_s


def test_the_largest_part_of_a_file_passes() -> None:
    (size,) = TLS.one("client_max_body_size")
    assert int(size.removesuffix("m")) * 1024 * 1024 >= SEND_MAX_BYTES


def test_no_write_is_sent_twice() -> None:
    assert "non_idempotent" not in TLS.one("proxy_next_upstream")
    assert set(TLS.one("proxy_next_upstream")) <= {"error", "timeout"}


def test_kept_connections_are_closed_here_first() -> None:
    assert seconds(UPSTREAM.one("keepalive_timeout")) < IDLE_S
    assert TLS.one("proxy_http_version") == ("1.1",)
    assert ("Connection", "") in TLS.directives["proxy_set_header"]


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_what_is_for_the_machine_is_not_for_the_world(path: str) -> None:
    assert TLS.inside("location", "=", path).one("return") == ("404",)


def test_every_location_that_asks_the_broker_asks_all_of_them() -> None:
    passes = [block.one("proxy_pass") for block in TLS.blocks if "proxy_pass" in block.directives]
    assert set(passes) == {("http://cloud_broker",)}
    assert UPSTREAM.directives["server"][0][0] == f"127.0.0.1:{DEFAULTS['BROKER_PORT']}"


def test_nginx_itself_takes_it_where_there_is_one(
    tmp_path: Path,
    unused_tcp_port_factory: Callable[[], int],
    record_property: Callable[[str, object], None],
) -> None:
    """What holds everywhere is tested above; the end of the run says whether this was done."""
    tool = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if tool is None:
        record_property("table: packaging", "nginx is not here: own checks only")
        return
    a_certificate(tmp_path)
    text = (BROKER / "nginx.conf").read_text("utf-8")
    for known in ("/etc/ssl/broker.example", "/var/log/nginx"):
        assert known in text
        text = text.replace(known, str(tmp_path))
    # It tries the ports too, and those below 1024 are not for everybody.
    text = re.sub(
        r"listen (\[::\]:)?\d+", lambda _: f"listen 127.0.0.1:{unused_tcp_port_factory()}", text
    )
    (tmp_path / "broker.conf").write_text(text)
    places = "".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ {places} include {tmp_path}/broker.conf; }}\n"
    )
    tried = subprocess.run(
        [tool, "-t", "-q", "-c", str(whole), "-e", str(tmp_path / "error.log")],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (tried.returncode, tried.stderr) == (0, "")
    record_property("table: packaging", "nginx -t: taken as it is")


def a_certificate(folder: Path) -> None:
    """Write fullchain.pem and privkey.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker.example")])
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
