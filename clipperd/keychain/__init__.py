"""Stores the session's refresh token: in the OS keyring, in memory or in an encrypted file."""
