"""Whose: accounts, sessions, sign-in, and the sealed tokens of their connections to Notion."""
