"""The durable outbox: what was accepted, sent and confirmed. All SQL about clips lives here."""
