"""The composition of the whole broker."""

from __future__ import annotations

import pytest

from tests.cloud_broker.broker_stage import BrokerStage


@pytest.mark.parametrize(
    "line",
    [
        "broker_writes_under_way 0",
        "broker_audit_rows_lost 0",
        "broker_limits_shared 1",
        "broker_instances 1",
        "broker_event_streams 0",
    ],
)
async def test_metrics_show_the_gauges_of_every_part(stage: BrokerStage, line: str) -> None:
    text = await (await stage.browser.get("/metrics")).text()
    assert line in text.splitlines()
