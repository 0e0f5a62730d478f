"""Generated requests against a whole broker; only the proxy's table may reach Notion."""
