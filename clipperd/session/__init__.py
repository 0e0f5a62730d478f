"""The user's session: accounts and workspaces, sign-in and tokens."""
