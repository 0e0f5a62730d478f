"""Finds the local source addresses of internet traffic, from the routing table only."""

from __future__ import annotations

import socket
from ipaddress import ip_address

_DOCUMENTATION = ("192.0.2.1", "2001:db8::1")  # unused addresses (RFC 5737, RFC 3849)
_PORT = 443


def source_addresses(host: str | None) -> frozenset[str]:
    """Return the source addresses for the internet, and for ``host`` if it is an IP address."""
    targets = [*_DOCUMENTATION, *([host] if host is not None and _is_ip(host) else [])]
    return frozenset(source for target in targets if (source := _source(target)) is not None)


def _source(target: str) -> str | None:
    try:
        with socket.socket(_family(target), socket.SOCK_DGRAM) as probe:
            probe.connect((target, _PORT))  # a datagram socket only looks up the route
            return str(probe.getsockname()[0])
    except OSError:
        return None  # no route


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
