"""A training run: from a recipe and rows to a saved model, its report and its release."""
