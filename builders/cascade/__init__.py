"""From judges' labels to verdicts: stages, combining, thresholds, zones, and what a run says of itself."""
