"""How many requests may go where, and when the next one may."""
