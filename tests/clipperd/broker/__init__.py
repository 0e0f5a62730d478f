"""Tests of clipperd/broker/."""
