"""What the Space shows of a release: read in parts, indexed, searched and compared."""
