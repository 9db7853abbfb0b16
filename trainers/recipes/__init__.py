"""Recipes: everything that makes a training run repeatable, as data."""
