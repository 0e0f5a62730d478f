"""Generated requests against a whole broker; what reaches Notion must be of the proxy's table."""
