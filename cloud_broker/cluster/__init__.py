"""State shared by several brokers: limits in Redis, push notifications, live instances."""
