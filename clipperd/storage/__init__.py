"""What lies below a SQLite file: its schema, and the disk."""
