"""Outlines of pages: headings, section ends, anchors, and how fresh they are."""
