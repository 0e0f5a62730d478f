"""What earlier versions of the daemon's files look like."""
