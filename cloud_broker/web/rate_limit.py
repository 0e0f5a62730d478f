"""Limits requests without a session by address, and expensive requests by account.

A reverse proxy hides the client's address, so it is read from ``X-Forwarded-For``: from the right,
while the hops are proxies that the settings trust. An IPv6 client counts by its /64, because
it owns every address in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from cloud_broker.clock import Clock
from cloud_broker.errors import TooManyRequests
from cloud_broker.limits.gcra import Window
from cloud_broker.limits.limiter import LimitCheck, Limiter

Network = IPv4Network | IPv6Network
_PREFIX = 64


class RateLimit:
    """Counts requests by address or account in any minute."""

    def __init__(
        self, limiter: Limiter, clock: Clock, *, scale: float, proxies: Sequence[Network]
    ) -> None:
        """``scale`` multiplies every limit; ``proxies`` are trusted to forward addresses."""
        self._limiter = limiter
        self._clock = clock
        self._scale = scale
        self._proxies = tuple(proxies)

    async def by_address(self, request: web.Request, name: str, per_minute: int) -> None:
        """Count one request of the caller's address. Raises TooManyRequests."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        address = address_of(request.remote, forwarded, self._proxies)
        await self._count(f"v1:{{a:{address}}}:{name}", name, per_minute)

    async def by_account(self, user_id: str, name: str, per_minute: int) -> None:
        """Count one request of an account. Raises TooManyRequests."""
        await self._count(f"v1:{{u:{user_id}}}:{name}", name, per_minute)

    async def _count(self, key: str, name: str, per_minute: int) -> None:
        check = LimitCheck(name, key, Window(max(1, int(per_minute * self._scale))))
        decision = await self._limiter.decide((check,), (), self._clock.monotonic(), 0.0)
        if not decision.allowed:
            raise TooManyRequests(
                "Too many requests came in the last minute. Wait, then try again.",
                retry_after=decision.wait_s,
            )


def address_of(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """Return the rightmost address that is no trusted proxy, else the leftmost readable one."""
    found = _parsed(peer or "")
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while found is not None and hops and _is_in(found, proxies):
        before = _parsed(hops.pop())
        if before is None:
            break
        found = before
    if found is None:
        return "unknown"
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> _PREFIX << _PREFIX, _PREFIX)))
    return str(found)


def is_trusted(peer: str, proxies: Sequence[Network]) -> bool:
    """Whether ``peer`` is a trusted proxy, whose connections serve many clients."""
    found = _parsed(peer)
    return found is not None and _is_in(found, proxies)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
