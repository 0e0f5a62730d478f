"""The operators' files: requirements, image, compose file, unit, proxy."""
