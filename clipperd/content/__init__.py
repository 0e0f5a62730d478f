"""Converts the content of a clip to Notion blocks, cut to Notion's limits. Pure."""
