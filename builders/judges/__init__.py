"""Judges: who says whether a candidate is relevant, and how they are asked and understood."""
