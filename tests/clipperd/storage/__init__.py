"""Tests of what lies below a SQLite file."""
