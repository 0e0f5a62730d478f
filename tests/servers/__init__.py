"""Real servers for the tests: each its own process, known by its pid, always stopped."""
