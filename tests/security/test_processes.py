"""The real programs: no secret on a command line, in their output, or in their logs."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.security.canaries import Written, files, leaks, word
from tests.stack.stack import running


@pytest.mark.e2e
def test_no_secret_is_on_a_command_line_or_in_what_the_programs_print(tmp_path: Path) -> None:
    written = Written()
    keys = {name: base64.b64encode(os.urandom(32)).decode() for name in ("encrypt", "sign")}
    changes = {
        "CLIPPERD_SECRETS_PASSPHRASE": word("passphrase"),
        "BROKER_ENCRYPTION_KEYS": f"k1:{keys['encrypt']}",
        "BROKER_SIGNING_KEYS": f"k1:{keys['sign']}",
    }
    with running(tmp_path / "stack", **changes) as stack:
        page = stack.notion.page(written.page, f"# {written.heading}")
        clip = stack.clip(page.id, f"{written.body} {written.title}")
        stack.delivered(clip)
        stack.client.pages(q=written.search)
        mine = json.loads((stack.home / "endpoint.json").read_text("utf-8"))
        secrets = {
            **keys,
            "passphrase": changes["CLIPPERD_SECRETS_PASSPHRASE"],
            "owner token": mine["token"],
            "client secret": "sandbox-secret",
        }
        shown = subprocess.run(
            ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
        ).stdout
        assert "cloud_broker run" in shown
        assert "clipperd run" in shown
    found = leaks("ps", shown, secrets | written.all())
    for name, content in files(tmp_path / "stack"):
        if name.endswith(".txt") or "log" in Path(name).name or "/logs/" in name:
            found += leaks(name, content, secrets | written.all())
    assert not found, "\n".join(found)
