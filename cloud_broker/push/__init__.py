"""Webhooks in, invalidations out: what changed at Notion, told to the daemons of its owners."""
