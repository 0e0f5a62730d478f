"""A per-user daemon that accepts clips within milliseconds and delivers each exactly once."""

__version__ = "0.1.0"
