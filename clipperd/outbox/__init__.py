"""The durable outbox: what was accepted, what was sent, what is known of it. All SQL about clips."""
