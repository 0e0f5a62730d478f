"""The sandbox: a stand-in for Notion that enforces what Notion enforces."""
