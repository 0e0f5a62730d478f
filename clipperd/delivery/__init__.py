"""Deliver clips from the outbox to Notion: lanes, requests, outcomes, reconciliation."""
