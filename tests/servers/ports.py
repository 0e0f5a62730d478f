"""Ports on loopback for servers that a test starts."""

from __future__ import annotations

import os
import random
import socket

_ABOVE, _BELOW = 15_000, 32_000  # not among those that the system gives to connections


def free_port() -> int:
    """A port that nobody listens on now.

    It lies outside of those that outgoing connections get, so that none of these has it when a
    server that was killed comes back.
    """
    dice = random.Random(os.urandom(8))
    while True:
        port = dice.randrange(_ABOVE, _BELOW)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
