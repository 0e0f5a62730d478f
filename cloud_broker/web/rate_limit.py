"""How often one address may knock where nobody has signed in, and one account ask for much.

Behind a reverse proxy every connection comes from the proxy's address, so the caller's is read
from ``X-Forwarded-For``: from the right, as far as the hops are proxies that the settings trust.
An IPv6 caller counts by its /64, of which it has every address.
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
    """Counts by address or account, at most so many in any minute."""

    def __init__(
        self, limiter: Limiter, clock: Clock, *, scale: float, proxies: Sequence[Network]
    ) -> None:
        """``scale`` multiplies every number; ``proxies`` may say for whom they speak."""
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
            raise TooManyRequests("Wait a moment, then try again.", retry_after=decision.wait_s)


def address_of(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The first address from the right that is no trusted proxy, or the last that could be read."""
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
    """Whether connections come from a proxy, which speaks for many."""
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
