"""``cloud-broker ratelimit-probe``: an experiment that finds out whose a rate limit is."""
