"""Earlier versions of the daemon's files."""
