"""Notion's SDK for JavaScript, pointed at a whole broker: it works unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.cloud_broker.broker_on_sandbox import a_whole_broker
from tests.stack.javascript import walk

STEPS = (
    *("reads", "writes", "databases", "uploads", "refusals", "the_table"),
    *("overload", "retries", "versions"),
)


async def test_notions_own_sdk_works_through_the_broker(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    node = shutil.which("node")
    if node is None:
        record_property("table: NOT RUN", "Notion's JavaScript SDK: this machine has no node")
        return
    async with a_whole_broker(tmp_path) as broker:
        done = await walk(
            node,
            tmp_path,
            STEPS,
            url=broker.base_url,
            token=broker.token,
            sandbox=broker.notion,
        )
    assert done == list(STEPS)
