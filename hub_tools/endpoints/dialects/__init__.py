"""The ways judge servers are spoken to, one module per dialect."""
