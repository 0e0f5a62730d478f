"""The sandbox Notion against what Notion documents."""
