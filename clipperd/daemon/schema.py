"""The migration steps of outbox.db and cache.db, collected from their owners."""

from __future__ import annotations

from clipperd.outbox.schema import OUTBOX_STEPS
from clipperd.outline.schema import m002_outlines
from clipperd.pages.schema import PAGE_STEPS, m001_pages, m003_count, m005_search, m006_kinds
from clipperd.push.schema import m004_push
from clipperd.session.schema import SESSION_STEPS
from clipperd.web.tokens import CLIENT_STEPS

STEPS = (*OUTBOX_STEPS, *SESSION_STEPS, *PAGE_STEPS, *CLIENT_STEPS)
"""Steps of outbox.db. Append new steps to their owner's tuple; each runs once, by name."""

CACHE_STEPS = (m001_pages, m002_outlines, m003_count, m004_push, m005_search, m006_kinds)
"""Steps of cache.db, in order."""
