"""Detects that the machine slept or that its network changed."""
