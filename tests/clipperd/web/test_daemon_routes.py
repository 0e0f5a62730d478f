"""Routes of status, health, settings and shutdown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import clipperd
from clipperd.errors import StorageFull
from clipperd.health import Finding
from tests.clipperd.web.middleware_stage import INSTANCE, MiddlewareStage, running_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path) as opened:
        yield opened


async def test_status_puts_the_parts_together(api: MiddlewareStage) -> None:
    api.clock.advance(5)
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
    async with running_api(tmp_path, checks=checks) as api:
        _, first, _ = await api.call("GET", "/v1/health")
        api.clock.advance(60)
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


async def test_settings_never_show_or_take_the_brokers_address(api: MiddlewareStage) -> None:
    _, before, _ = await api.call("GET", "/v1/settings")
    assert not {name for name in before["settings"] if "broker_url" in name or "secret_" in name}
    status, problem, _ = await api.call("PATCH", "/v1/settings", json={"broker_url": "https://x.y"})
    assert (status, problem["code"]) == (403, "setting_fixed")
    assert (await api.call("GET", "/v1/settings"))[1] == before


async def test_a_changed_setting_waits_for_the_next_start(api: MiddlewareStage) -> None:
    change = {"refresh_s": 60, "allowed_origins": ["app://my-app", "http://localhost:1"]}
    _, body, _ = await api.call("PATCH", "/v1/settings", json=change)
    assert sorted(body["restart_required"]) == ["allowed_origins", "refresh_s"]
    _, body, _ = await api.call("PATCH", "/v1/settings", json={"refresh_s": None})
    assert body["restart_required"] == ["allowed_origins"]
    assert body["settings"]["refresh_s"] == 300


async def test_what_the_environment_sets_cannot_be_changed_in_the_file(
    api: MiddlewareStage,
) -> None:
    status, problem, _ = await api.call("PATCH", "/v1/settings", json={"port": 6})
    assert (status, problem["code"]) == (403, "setting_fixed")


@pytest.mark.parametrize(
    "patch",
    [
        {"nothing": 1},
        {"refresh_s": "soon"},
        {"refresh_s": [1, [2]]},
        {"refresh_s": {}},
        {"refresh_s": True},
        {"log_level": ""},
        {"log_level": 'info"\nport = 1'},
        {"refresh_s": 60, "log_level": "loud"},
    ],
)
async def test_a_bad_setting_is_named_and_nothing_is_stored(
    api: MiddlewareStage, patch: dict[str, object]
) -> None:
    status, problem, _ = await api.call("PATCH", "/v1/settings", json=patch)
    assert status == 400
    assert problem["errors"][0]["pointer"][1:] in patch
    assert (await api.call("GET", "/v1/settings"))[1]["restart_required"] == []


async def test_a_body_that_is_no_object_changes_nothing(api: MiddlewareStage) -> None:
    for data in (b"[]", b"{", b"5", b"[" * 100_000):
        headers = {"Content-Type": "application/json"}
        status, _, _ = await api.call("PATCH", "/v1/settings", data=data, headers=headers)
        assert status == 400


async def test_only_admin_changes_settings(api: MiddlewareStage) -> None:
    token = await api.client("read", "clip")
    assert (await api.call("GET", "/v1/settings", token=token))[0] == 200
    assert (await api.call("PATCH", "/v1/settings", token=token, json={}))[0] == 403


async def test_only_the_owner_stops_the_daemon(api: MiddlewareStage) -> None:
    admin = await api.client("admin")
    status, problem, _ = await api.call("POST", "/v1/shutdown", token=admin, json={})
    assert (status, problem["code"]) == (403, "owner_only")
    assert (await api.call("POST", "/v1/shutdown", json={"when": "idle"}))[0] == 202
    assert (await api.call("POST", "/v1/shutdown"))[0] == 202
    assert (await api.call("POST", "/v1/shutdown", json={"when": "never"}))[0] == 400
    assert api.stops == ["idle", "now"]
