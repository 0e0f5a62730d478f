"""Other programs of the kind, measured in the same run; installed for it, in a folder that goes."""
