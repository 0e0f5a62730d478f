"""The broker's settings: their table, parsers and sources."""
