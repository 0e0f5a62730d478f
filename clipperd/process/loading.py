"""Speeds up the import of the daemon's modules and saves memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""OpenSSL reads these first: https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/

aiohttp reads the machine's certificates twice at import (``aiohttp/connector.py``), which took a
sixth of the start. ``clipperd.broker.http`` reads them before the first request to the broker.
"""

_PLAIN_LIST = {"FROZENLIST_NO_EXTENSIONS": "1"}
"""Only frozenlist's compiled form needs libstdc++ (1 MB); aiohttp keeps a few callbacks in it."""


@contextmanager
def lean() -> Iterator[None]:
    """Import modules in this block without reading certificates and without garbage collection.

    TLS contexts made at import trust no certificate. The collector never scans the imported
    objects, which live as long as the process: a scan took a tenth of the start, and later some
    30 ms in which no request was answered.
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
