"""From which of this machine's addresses the world is reached; asks the routing table only."""

from __future__ import annotations

import socket
from ipaddress import ip_address

# Addresses of nobody (RFC 5737, RFC 3849): the table says how it would get there; nothing is sent.
_ANYWHERE = ("192.0.2.1", "2001:db8::1")
_PORT = 443


def sources(host: str | None) -> frozenset[str]:
    """The local addresses from which the world is reached, and ``host`` where it is a number."""
    aims = [*_ANYWHERE, host] if host is not None and _is_number(host) else list(_ANYWHERE)
    return frozenset(source for aim in aims if (source := _source(aim)) is not None)


def _source(aim: str) -> str | None:
    try:
        with socket.socket(_family(aim), socket.SOCK_DGRAM) as probe:
            probe.connect((aim, _PORT))  # of a datagram socket: chooses the way, sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return None  # there is no way


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
