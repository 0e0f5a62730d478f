"""Tests of clipperd/process/."""
