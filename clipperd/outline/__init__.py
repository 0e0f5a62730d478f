"""Outlines of pages: headings, section ends, insertion points, and their freshness."""
