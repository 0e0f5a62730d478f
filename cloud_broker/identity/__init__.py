"""Manages accounts, sessions, sign-in, and the sealed tokens of connections to Notion."""
