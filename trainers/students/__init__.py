"""Small models: the static student of comparisons, and students that judge."""
