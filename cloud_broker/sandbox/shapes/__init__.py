"""Validates requests with Notion's messages and limits. Pure."""
