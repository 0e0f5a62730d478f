"""The daemon's process: lock file, endpoint file, log, crash reports."""
