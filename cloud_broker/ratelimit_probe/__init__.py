"""Runs ``cloud-broker ratelimit-probe``, an experiment that finds the scope of a rate limit."""
