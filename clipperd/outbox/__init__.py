"""Hold the durable queue: accepted, sent and delivered clips. All SQL about clips is here."""
