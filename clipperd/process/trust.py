"""The machine's certificates, read when the first https request needs them and not at the start.

aiohttp reads them twice over while it is imported (``aiohttp/connector.py``), which was a sixth of
the daemon's start; the daemon has much to answer before it asks its broker anything, and then
``clipperd.transport`` reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Where OpenSSL looks first: https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/
_SOURCES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def unread() -> Iterator[None]:
    """What is imported inside finds no certificates, so its own TLS contexts trust nobody."""
    before = {name: os.environ.get(name) for name in _SOURCES}
    os.environ.update(dict.fromkeys(_SOURCES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
