"""Errors of the settings."""

from __future__ import annotations

from clipperd.errors import ClipperdError, Kind


class ConfigInvalid(ClipperdError):
    """A setting is unknown or malformed; ``detail`` lists every fault (exit 4)."""

    code = "config_invalid"
    kind = Kind.INVALID
    title = "The settings cannot be used"
