"""Hooks for schemathesis: half of the ids in URLs belong to existing things.

Its command line loads them (``SCHEMATHESIS_HOOKS``); ``REAL_IDS`` is a file of ids by parameter
name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import schemathesis

_IDS: dict[str, list[str]] = json.loads(Path(os.environ["REAL_IDS"]).read_text("utf-8"))
_SPARED = ("/v1/workspaces/{id}",)  # or nothing that follows would have a workspace


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> Any:
    """Put real ids where the generated one, which decides, has an even sum of its bytes."""
    if not path_parameters or context.operation.path in _SPARED:
        return path_parameters
    return {name: _real(name, value) for name, value in path_parameters.items()}


def _real(name: str, value: Any) -> Any:
    total = sum(str(value).encode("utf-8", "surrogatepass"))
    known = _IDS.get(name, [])
    return known[total // 2 % len(known)] if known and total % 2 == 0 else value
