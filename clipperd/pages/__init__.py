"""The page index: lists and searches the pages of a workspace without waiting for Notion."""
