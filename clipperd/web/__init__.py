"""The local HTTP API: parse, one call into the core, render."""
