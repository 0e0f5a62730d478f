"""The handlers of the local API, one module for each noun."""
