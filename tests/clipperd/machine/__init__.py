"""The machine under the daemon."""
