"""The page index: which pages there are, found without waiting for Notion."""
