"""clipperd: the per-user daemon that accepts clips at once and delivers each exactly once."""

__version__ = "0.1.0"
