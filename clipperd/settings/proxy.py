"""Chooses the HTTP proxy on the way to the broker, from the setting and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

NONE = "none"
"""The value of the setting that switches every proxy off."""

_FORM = "must be an address such as http://proxy.example.org:3128, or none"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. ``url`` and ``name`` (host and port) hold no credentials."""

    url: str
    name: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class ProxyUnusable(ValueError):
    """A variable names a proxy that the daemon cannot use; the message quotes no value."""


def parse_proxy(text: str) -> Proxy:
    """Return the proxy of an address. Raises ValueError, which never quotes the address."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        raise ValueError(_FORM) from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in _PORTS or not host or more or ":" in user:
        raise ValueError(_FORM)
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Proxy(f"{parts.scheme}://{name}", name, user, password)


def proxy_for(url: str, setting: str | None, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for ``url``; None: connect directly, as always to this machine.

    The setting overrides the environment, where a variable in lower case overrides the one in
    capitals. Raises ProxyUnusable: a direct connection could reveal what the user hides.
    """
    parts = urlsplit(url)
    if setting == NONE or is_loopback(parts.hostname or ""):
        return None
    if setting is not None:
        return parse_proxy(setting)
    if _is_exempt(parts, _variable(env, "no_proxy")[1]):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        variable, value = _variable(env, name)
        if value:
            try:
                return parse_proxy(value)
            except ValueError:
                raise ProxyUnusable(
                    f"The variable {variable} names no HTTP proxy. Correct it, or set another with:"
                    " clipperd config set proxy ADDRESS (none: no proxy)"
                ) from None
    return None


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _variable(env: Mapping[str, str], name: str) -> tuple[str, str]:
    for variable in (name, name.upper()):
        if env.get(variable, "").strip():
            return variable, env[variable].strip()
    return name, ""


def _is_exempt(url: SplitResult, no_proxy: str) -> bool:
    host = (url.hostname or "").rstrip(".")
    port = str(url.port or _PORTS.get(url.scheme))
    return any(_covers(entry, host, port) for entry in no_proxy.lower().replace(",", " ").split())


def _covers(entry: str, host: str, port: str) -> bool:
    """Return whether an entry of NO_PROXY covers the host: *, a domain, an address, a network."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, _, its_port = entry.rpartition(":")
    if name and its_port.isdigit():
        return its_port == port and _covers(name, host, port)
    domain = entry.removeprefix("*").strip(".")
    if host == domain:
        return True
    return bool(domain) and not _is_address(host) and host.endswith(f".{domain}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
