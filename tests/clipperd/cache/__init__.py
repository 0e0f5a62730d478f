"""Tests of cache.db as a file."""
