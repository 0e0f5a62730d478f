"""The HTTP client of the cloud broker."""
