"""The figures of cards, one per module, as PNG bytes."""
