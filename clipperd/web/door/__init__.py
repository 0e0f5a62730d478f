"""Who may come in, and what they get when they may not: in front of every route."""
