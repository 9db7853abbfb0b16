"""A Ray cluster to work on, and the limits that its workers share."""
