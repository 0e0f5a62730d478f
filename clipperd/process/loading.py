"""How the daemon's modules are loaded: quickly, with little left in memory that nothing needs."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where OpenSSL looks first: https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/

aiohttp reads the machine's certificates twice over while it is imported (``aiohttp/connector.py``),
which was a sixth of the start; the daemon has much to answer before it asks its broker anything,
and then ``clipperd.broker.http`` reads them.
"""

_PLAIN_LIST = {"FROZENLIST_NO_EXTENSIONS": "1"}
"""frozenlist's compiled form alone needs libstdc++, which is 1 MB; aiohttp keeps a few lists of
callbacks in it, made once."""


@contextmanager
def lean() -> Iterator[None]:
    """What is imported inside finds no certificates, so its own TLS contexts trust nobody.

    Nor does it meet the collector of cycles, then or later: modules live as long as the process,
    so looking through them is in vain. Looking took a tenth of the start, and looking at all of
    them again some 30 ms, in which no request was answered.
    """
    with _environment({**dict.fromkeys(_CERTIFICATES, os.devnull), **_PLAIN_LIST}):
        gc.disable()
        try:
            yield
        finally:
            gc.freeze()
            gc.enable()


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
