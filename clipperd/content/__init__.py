"""Content of a clip: from what was captured to Notion blocks, cut to Notion's limits. Pure."""
