"""The broker's event stream: what it tells, and what follows from that in the daemon's caches."""
