"""Where the session's refresh token is stored: OS keyring, memory or an encrypted file."""
