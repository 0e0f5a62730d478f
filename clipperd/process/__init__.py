"""The daemon as one process on this machine: its lock, its endpoint file, its log."""
