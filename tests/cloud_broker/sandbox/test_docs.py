"""docs/sandbox.md names every route, fault and setting."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from cloud_broker.sandbox.app import create_app
from cloud_broker.sandbox.control.bodies import ConfigBody
from cloud_broker.sandbox.faults import PARAMS
from cloud_broker.sandbox.front import ENDPOINTS
from cloud_broker.sandbox.model import Config
from tests.clocks import ManualClock

TEXT = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_fault_and_its_parameters_are_described() -> None:
    for kind, params in PARAMS.items():
        (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{kind}` |")]
        for name in params:
            assert f"`{name}`" in row or "the same" in row


def test_every_knob_is_named_and_can_be_turned() -> None:
    names = {field.name for field in fields(Config)}
    assert names == set(ConfigBody.__struct_fields__)
    for name in names:
        assert f"`{name}`" in TEXT


def test_every_control_route_and_endpoint_is_named() -> None:
    for route in create_app(clock=ManualClock()).router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if path.startswith("/_sandbox") and "files" not in path:
            assert "/".join(path.split("/")[:3]) in TEXT
    for endpoint in ENDPOINTS:
        first = endpoint.template.partition("/")[0]
        assert f"`{first}" in TEXT
