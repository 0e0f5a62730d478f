"""Serves HTML to browsers: the live pages and the consent page."""
