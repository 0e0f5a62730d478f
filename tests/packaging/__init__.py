"""What operators are handed: requirements, image, compose file, unit, proxy."""
