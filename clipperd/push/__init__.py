"""The broker's event stream: keeps it open and applies its events to caches and session."""
