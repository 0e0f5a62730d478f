"""What requests may look like: pure validation with Notion's messages and limits."""
