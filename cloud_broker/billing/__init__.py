"""Derives the tier of each account from Stripe's events."""
