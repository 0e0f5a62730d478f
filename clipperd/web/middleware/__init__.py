"""Checks that run before every route of the local API: Host, Origin, token, scope, body size."""
