"""Stores the broker's durable state through one small database port."""
