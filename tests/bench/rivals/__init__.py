"""Other programs of the same kind, installed into a temporary folder and measured too."""
