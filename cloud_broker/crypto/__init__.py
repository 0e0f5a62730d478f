"""Seals stored tokens, signs issued tokens, and hashes identifiers with a key."""
