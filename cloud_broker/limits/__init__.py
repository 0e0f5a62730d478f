"""Rate limits and circuit breakers."""
