"""Takes Notion's webhooks and streams invalidations to the daemons of the owners."""
