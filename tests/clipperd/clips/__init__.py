"""Tests of clipperd/clips/."""
