"""Checks the answers to bad input, and collects the faults of a whole walk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CODE = frozenset("abcdefghijklmnopqrstuvwxyz_0123456789")


class Findings(list[str]):
    """What a walk found; empty is good."""

    def check(self, where: str, fault: str | None) -> None:
        if fault is not None:
            self.append(f"{where}: {fault}")

    def told(self) -> str:
        """All of them, one a line."""
        return "\n".join(self)


def no_problem(
    status: int, headers: Mapping[str, str], body: Any, *allowed: int, shown: str = ""
) -> str | None:
    """Why this is not a clear refusal with one of the statuses ``allowed`` (any 4xx if none).

    Notion's shape is good too, where the body says that it is an error object.
    """
    if not 400 <= status < 500 or (allowed and status not in allowed):
        return f"{status} {str(body)[:200]} {shown}"
    if not isinstance(body, dict):
        return f"{status} with {headers.get('Content-Type')}: {str(body)[:100]}"
    if body.get("object") == "error":
        names = ["status", "code", "message", "request_id"]
    else:
        names = ["type", "title", "status", "detail", "code", "request_id"]
        if not headers["Content-Type"].startswith("application/problem+json"):
            return f"{status} as {headers['Content-Type']}"
    missing = [name for name in names if not body.get(name)]
    if missing or body["status"] != status or not set(body["code"]) <= CODE:
        return f"{status} lacks {missing or 'a sound code or status'}: {body}"
    if "Traceback" in str(body) or '.py"' in str(body):
        return f"{status} tells of the inside: {body}"
    return None
