"""From the rows of a config to what a model is trained on."""
