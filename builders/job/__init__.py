"""Job files: one YAML file that says the whole job."""
