"""Judgements of a test set (qrels): what is wrong with them, and what runs find that nobody judged."""
