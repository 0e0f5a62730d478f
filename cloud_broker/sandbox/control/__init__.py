"""The sandbox's own routes under ``/_sandbox``: count, misbehave, shift time, edit as a person."""
