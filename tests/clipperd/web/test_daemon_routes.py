"""Status, health, settings, shutdown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import clipperd
from clipperd.errors import StorageFull
from clipperd.web.health import Finding
from tests.clipperd.web.shell import INSTANCE, Door, door


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as opened:
        yield opened


async def test_status_puts_the_parts_together(api: Door) -> None:
    await api.clock.advance(5)
    status, body, _ = await api.call("GET", "/v1/status")
    assert status == 200
    assert body == {
        "version": clipperd.__version__,
        "api": 1,
        "instance_id": INSTANCE,
        "started_at": "2023-11-14T22:13:20.000Z",
        "uptime_s": 5.0,
        "queue": {"queued": 2},
    }


async def test_health_shows_the_cause_once_and_since_when(tmp_path: Path) -> None:
    well = [False]

    async def network() -> Finding:
        if well[0]:
            return Finding("ok", "Online.")
        return Finding("error", "No network.", "Connect.")

    async def broker() -> Finding:
        severity = "ok" if well[0] else "warning"
        return Finding(severity, "Broker.", depends_on=("network",))  # type: ignore[arg-type]

    async def disk() -> Finding:
        raise StorageFull("The disk is full.", hint="Make room.")

    checks = {"network": network, "broker": broker, "disk": disk}
    async with door(tmp_path, checks=checks) as api:
        _, first, _ = await api.call("GET", "/v1/health")
        await api.clock.advance(60)
        _, body, _ = await api.call("GET", "/v1/health")
        found = {check["id"]: check for check in body["checks"]}
        assert (body["ok"], body["severity"]) == (False, "error")
        assert found["broker"]["because_of"] == ["network"]
        assert found["network"]["remedy"] == "Connect."
        assert found["network"]["since"] == first["checks"][0]["since"]
        assert found["disk"]["severity"] == "error"
        well[0] = True
        _, later, _ = await api.call("GET", "/v1/health")
        assert later["checks"][0]["since"] is None


async def test_settings_never_show_or_take_the_brokers_address(api: Door) -> None:
    _, body, _ = await api.call("GET", "/v1/settings")
    assert body == {"history_days": 30}
    for name in ("broker_url", "Owner_Token", "key_file"):
        status, problem, _ = await api.call("PATCH", "/v1/settings", json={name: "x"})
        assert (status, problem["code"]) == (403, "setting_fixed")
    assert (await api.call("GET", "/v1/settings"))[1] == {"history_days": 30}


async def test_settings_change_or_say_what_is_wrong(api: Door) -> None:
    _, body, _ = await api.call("PATCH", "/v1/settings", json={"history_days": 7})
    assert body == {"history_days": 7}
    status, problem, _ = await api.call("PATCH", "/v1/settings", json={"nothing": 1})
    assert (status, problem["errors"][0]["pointer"]) == (400, "/nothing")
    for data in (b"[]", b"{", b"5", b"[" * 100_000):
        headers = {"Content-Type": "application/json"}
        status, _, _ = await api.call("PATCH", "/v1/settings", data=data, headers=headers)
        assert status == 400


async def test_settings_are_for_admin_only(api: Door) -> None:
    token = await api.client("read", "clip")
    assert (await api.call("GET", "/v1/settings", token=token))[0] == 403


async def test_only_the_owner_stops_the_daemon(api: Door) -> None:
    admin = await api.client("admin")
    status, problem, _ = await api.call("POST", "/v1/shutdown", token=admin, json={})
    assert (status, problem["code"]) == (403, "owner_only")
    assert (await api.call("POST", "/v1/shutdown", json={"when": "idle"}))[0] == 202
    assert (await api.call("POST", "/v1/shutdown"))[0] == 202
    assert (await api.call("POST", "/v1/shutdown", json={"when": "never"}))[0] == 400
    assert api.stops == ["idle", "now"]
