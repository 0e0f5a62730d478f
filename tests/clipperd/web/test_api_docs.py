"""docs/api.md names the parts that an app must know beside the OpenAPI document."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipperd.web.hub import TYPES

API = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    [
        *(*TYPES, "snapshot", "gap"),
        *("Idempotency-Replayed", "Retry-After", "ETag", "Last-Event-ID"),
        *("allowed_origins", "origin_refused", "api: 1", "deprecated"),
        *("pointer", "parameter", "header"),
    ],
)
def test_the_page_names_it(name: str) -> None:
    assert name in API
