"""Implements the control routes under ``/_sandbox``: counts, faults, clock, edits as a user."""
