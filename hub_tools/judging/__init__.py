"""Judging: rows go in, judgements land in the journal; here or on a Ray cluster, after a plan."""
