"""From the outbox to Notion: lanes, requests, outcomes, reconciliation."""
