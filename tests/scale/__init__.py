"""Several brokers as one: real processes over one PostgreSQL and one Redis."""
