"""Settings, the paths of files, and config.toml."""
