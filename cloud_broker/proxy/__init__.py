"""The allow-listed proxy to Notion."""
