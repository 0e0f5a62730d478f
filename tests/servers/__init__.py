"""Real servers for the tests: each started by itself, known by its pid, always stopped."""
