"""The sandbox Notion against Notion's documentation."""
