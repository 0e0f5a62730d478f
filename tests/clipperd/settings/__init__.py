"""Tests of clipperd/settings/."""
