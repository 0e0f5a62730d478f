"""Keys at work: sealing what is stored, signing what is handed out, hashing what must not name."""
