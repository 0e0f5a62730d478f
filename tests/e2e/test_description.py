"""The daemon against its own OpenAPI document: schemathesis calls everything in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from clipperd.web.openapi import FILE
from tests.stack.stack import Stack, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
_EXAMPLES = 6  # for each of some sixty operations, beside those that every schema has by itself
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
_LEFT_OUT = (
    "shutDown",  # the daemon is still needed
    "streamEvents",  # has no end
    "signOut",  # the session is still needed
)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running(tmp_path / "stack", CLIPPERD_REFRESH_S="86400") as made:
        yield made


def test_the_daemon_does_what_its_description_says_signed_in_and_out(
    stack: Stack, tmp_path: Path
) -> None:
    page = stack.notion.page("Described", "Top\n# Inbox\nfirst")
    done = stack.clip(page.id, "delivered")
    stack.delivered(done)
    stack.client.queue("pause")
    waiting = [stack.clip(page.id, f"waits {n}") for n in range(8)]
    ids = {
        "id": [page.id],
        "page_id": [page.id],
        "clip_id": [done["id"], *(clip["id"] for clip in waiting)],
        "client_id": [_a_client(stack)],
    }
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    asked(stack, tmp_path, "--phases", "coverage,fuzzing", "-n", str(_EXAMPLES))
    stack.client.logout()
    asked(stack, tmp_path, "--phases", "fuzzing", "-n", "2", "--mode", "positive")


def test_the_events_are_as_described(stack: Stack) -> None:
    page = stack.notion.page("Followed", "Top\n# Inbox\nfirst")
    mine = stack.client.hello()
    ask = Request(f"{mine.url}/v1/events", headers={"Authorization": f"Bearer {mine.token}"})
    event = {"$ref": "#/components/schemas/Event"} | json.loads(FILE.read_bytes())
    described = OAS31Validator(event, format_checker=oas31_format_checker)
    seen: set[str] = set()
    with urlopen(ask, timeout=60) as stream:
        stack.clip(page.id, "followed")
        frame: dict[str, Any] = {}
        while not {"snapshot", "clip", "pages"} <= seen:
            name, _, value = stream.readline().decode().rstrip("\n").partition(": ")
            if not name and "event" in frame:
                described.validate(frame)
                seen.add(frame["event"])
            frame = frame | {name: json.loads(value) if name == "data" else value} if name else {}


def _a_client(stack: Stack) -> str:
    made = stack.client.ask("POST", "/v1/clients", body={"name": "described", "scopes": ["read"]})
    return str(made["id"])


def asked(stack: Stack, folder: Path, *more: str) -> None:
    """Let schemathesis ask; what it finds is told."""
    mine = stack.client.hello()
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{mine.url}/v1/openapi.json"]
    command += ["--url", mine.url, "--header", f"Authorization: Bearer {mine.token}"]
    command += ["--checks", ",".join(_CHECKS), "--generation-deterministic"]
    command += ["--no-color", "--warnings", "off", "--suppress-health-check", "all"]
    command += ["--continue-on-failure", "--request-timeout", "60", *more]
    for operation in _LEFT_OUT:
        command += ["--exclude-operation-id", operation]
    env = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.e2e.real_ids",
        "REAL_IDS": str(folder / "ids.json"),
        "PYTHONPATH": str(ROOT),
    }
    found = subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr
