"""Notion's API, reached through the broker."""
