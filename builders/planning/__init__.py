"""What a run will cost, from a probe of it."""
