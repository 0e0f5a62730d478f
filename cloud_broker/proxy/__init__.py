"""Proxies an allow-list of calls to Notion."""
