"""The choice of the proxy; the addresses are never connected to."""

from __future__ import annotations

import pytest

from clipperd.settings.config import load
from clipperd.settings.errors import ConfigInvalid
from clipperd.settings.proxy import ProxyUnusable, parse_proxy, proxy_for

URL = "https://broker.example.org"
ENV = {"HTTPS_PROXY": "http://p:1"}


@pytest.mark.parametrize(
    ("url", "setting", "env", "name"),
    [
        (URL, None, {}, None),
        (URL, None, ENV, "p:1"),
        (URL, None, {"https_proxy": "low:2", **ENV}, "low:2"),
        (URL, None, {"https_proxy": "", **ENV}, "p:1"),
        (URL, None, {"HTTP_PROXY": "http://h:1"}, None),
        ("http://10.0.0.1", None, {"HTTP_PROXY": "http://h"}, "h:80"),
        (URL, None, {"ALL_PROXY": "https://all"}, "all:443"),
        (URL, None, {"ALL_PROXY": "socks5://s:1", **ENV}, "p:1"),
        (URL, "http://set:3", ENV, "set:3"),
        (URL, "http://set:3", {"NO_PROXY": "*"}, "set:3"),
        (URL, "none", ENV, None),
        (URL, "http://[2001:db8::1]:8", {}, "[2001:db8::1]:8"),
    ],
)
def test_the_setting_overrides_the_environment(
    url: str, setting: str | None, env: dict[str, str], name: str | None
) -> None:
    proxy = proxy_for(url, setting, env)
    assert (proxy.name if proxy else None) == name


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    env = {"HTTP_PROXY": "http://p", "HTTPS_PROXY": "http://p", "ALL_PROXY": "http://p"}
    for scheme in ("http", "https"):
        assert proxy_for(f"{scheme}://{host}:8787", "http://set", env) is None
        assert proxy_for(f"{scheme}://{host}:8787", None, env) is None


@pytest.mark.parametrize(
    ("url", "no_proxy", "covered"),
    [
        (URL, "*", True),
        (URL, "a.org, Example.ORG", True),
        (URL, "a.org .example.org", True),
        (URL, "*.example.org", True),
        (URL, "broker.example.org:443", True),
        (URL, "broker.example.org:8443", False),
        (URL, "ample.org", False),
        (URL, "", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://11.1.2.3:8443", "10.0.0.0/8,11.1.2.3:8443", True),
        ("https://11.1.2.3", "10.0.0.0/8,1.2.3", False),
        ("https://[2001:db8::1]", "[2001:db8::1]", True),
    ],
)
def test_no_proxy_covers_names_addresses_and_networks(
    url: str, no_proxy: str, covered: bool
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert (proxy_for(url, None, {name: no_proxy, **ENV}) is None) == covered


@pytest.mark.parametrize(
    "address",
    ["socks5://canary@p:1", "http://u:canary@", "http://p:canary", "http://p/canary", "//canary"],
)
def test_an_unusable_proxy_is_refused_without_quoting_it(address: str) -> None:
    with pytest.raises(ConfigInvalid) as fault:
        load({"CLIPPERD_PROXY": address}, {}, "")
    assert "CLIPPERD_PROXY" in fault.value.detail
    assert "canary" not in fault.value.detail
    with pytest.raises(ProxyUnusable, match="variable ALL_PROXY") as unusable:
        proxy_for(URL, None, {"ALL_PROXY": address})
    assert "canary" not in str(unusable.value)


def test_credentials_are_in_no_name_and_no_repr() -> None:
    proxy = parse_proxy("http://ada:c%40nary@p:1")
    assert (proxy.user, proxy.password) == ("ada", "c@nary")
    assert "nary" not in repr(proxy) + proxy.url + proxy.name
    settings = load({"CLIPPERD_PROXY": "http://ada:canary@p:1"}, {}, "")
    assert "canary" not in repr(settings)
    assert load({"CLIPPERD_PROXY": "None"}, {}, "").proxy == "none"
