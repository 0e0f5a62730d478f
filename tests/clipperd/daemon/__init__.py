"""Tests of clipperd/daemon/."""
