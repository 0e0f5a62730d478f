"""SQLite files: connections, checkpoints, migrations, backups and recovery."""
