"""``clipperd demo``: the whole path on one machine, without a Notion account."""
