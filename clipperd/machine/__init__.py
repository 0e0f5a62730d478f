"""What the machine does by itself under the daemon: it sleeps, and its network comes and goes."""
