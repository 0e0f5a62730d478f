"""Who is signed in: accounts, the sign-in, the tokens, and Notion through the broker."""
