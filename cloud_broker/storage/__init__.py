"""Durable state of the broker behind one small database port."""
