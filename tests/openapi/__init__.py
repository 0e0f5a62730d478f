"""An app's calls, typed by the daemon's OpenAPI document."""
