"""Changes one line of config.toml and keeps the rest, comments included.

Settings are flat, so an assignment is one line before the first table header.
"""

from __future__ import annotations

import json
import re

from clipperd.settings import config
from clipperd.settings.errors import ConfigInvalid


def edit(text: str, name: str, value: str) -> str:
    """Return ``text`` with ``name`` set to ``value``, or removed when ``value`` is empty.

    Raises ConfigInvalid when the value is invalid, or the old one spans several lines.
    """
    setting = config.describe(name)
    if not setting.in_file:
        raise ConfigInvalid(f"{name} cannot be set in config.toml.")
    lines = text.splitlines()
    at = [i for i, line in enumerate(lines) if re.match(rf"\s*{re.escape(name)}\s*=", line)]
    written = [f"{name} = {_literal(name, value)}"] if value else []
    if at:
        lines[at[0] : at[0] + 1] = written
    else:
        lines += written
    edited = "".join(line + "\n" for line in lines)
    config.load({}, {}, edited)
    return edited


def _literal(name: str, value: str) -> str:
    parsed = getattr(config.load({}, {name: value}, ""), name)
    if isinstance(parsed, tuple):
        return "[" + ", ".join(json.dumps(item) for item in parsed) + "]"
    if isinstance(parsed, (int, float)):
        return repr(parsed)
    return json.dumps(str(parsed), ensure_ascii=False)
