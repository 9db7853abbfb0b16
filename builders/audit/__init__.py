"""Audits: a blind sample for people, their answers, and what these say of the judges."""
