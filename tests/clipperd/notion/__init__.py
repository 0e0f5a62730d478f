"""Tests of clipperd/notion/."""
