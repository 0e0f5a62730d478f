"""Settings: where each value comes from, where files live, what may be changed while running."""
