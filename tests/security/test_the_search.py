"""The canary tests can fail: their search finds a planted secret."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.security.answers import no_problem
from tests.security.canaries import files, harvest, leaks
from tests.security.witness import Exchange

PROBLEM = {"Content-Type": "application/problem+json"}


@pytest.mark.parametrize(
    "text", ["x geheim/1 y", json.dumps({"a": "geheim/1"}), quote("geheim/1", "")]
)
def test_a_canary_is_found_plain_in_json_and_in_an_address(text: str) -> None:
    assert leaks("here", text, {"secret": "geheim/1"}) == ["secret (geheim/1…) in here"]
    assert leaks("here", text, {"secret": "geheim/2"}) == []


def test_tokens_are_harvested_from_headers_bodies_and_addresses() -> None:
    token, code, bearer = "t" * 20, "c" * 20, "b" * 20
    url, body = f"/api/auth/notion/callback?code={code}", json.dumps({"access_token": token})
    each = Exchange("broker", "GET", url, f"Bearer {bearer}", b"", 200, "", body.encode())
    assert harvest([each]) == {
        "broker code": {code},
        "broker access_token": {token},
        "broker Bearer": {bearer},
    }


def test_every_file_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_bytes(b"x")
    assert dict(files(tmp_path)) == {"logs/a.log": b"x"}


def test_what_is_no_clear_refusal_is_told() -> None:
    good = {
        "type": "urn:x",
        "title": "t",
        "status": 400,
        "detail": "d",
        "code": "c",
        "request_id": "r",
    }
    assert no_problem(400, PROBLEM, good, 400) is None
    for status, headers, body in (
        (500, PROBLEM, good | {"status": 500}),
        (200, PROBLEM, {}),
        (400, {"Content-Type": "text/plain"}, "bad"),
        (400, {"Content-Type": "application/json"}, good),
        (400, PROBLEM, good | {"code": ""}),
        (400, PROBLEM, good | {"status": 404}),
        (400, PROBLEM, good | {"detail": 'File "app.py"'}),
        (400, PROBLEM, {key: value for key, value in good.items() if key != "request_id"}),
    ):
        assert no_problem(status, headers, body, 400) is not None
