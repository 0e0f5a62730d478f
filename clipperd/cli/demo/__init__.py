"""``clipperd demo``: daemon, broker and sandbox on one machine, without a Notion account."""
