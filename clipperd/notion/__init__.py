"""Calls Notion's API through the broker."""
