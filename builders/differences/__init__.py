"""What differs between two releases, row by row."""
