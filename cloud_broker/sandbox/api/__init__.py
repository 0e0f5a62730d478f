"""Implements Notion's endpoints as pure functions from a call to an answer or a NotionError."""
