"""Building: source and journal become configs in a folder, here or on a Ray cluster."""
