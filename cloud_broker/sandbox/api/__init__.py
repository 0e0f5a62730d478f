"""Notion's endpoints: pure functions from a call to an answer, or a NotionError."""
