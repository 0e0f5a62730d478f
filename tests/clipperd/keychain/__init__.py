"""Tests of clipperd/keychain/."""
