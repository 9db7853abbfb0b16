"""Whole jobs on HF Jobs."""
