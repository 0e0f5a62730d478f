"""The daemon program: its process, its composition root and its background tasks."""
