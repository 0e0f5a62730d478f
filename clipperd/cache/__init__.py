"""cache.db: what can be read again from Notion."""
