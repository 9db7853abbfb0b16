"""BM25 over words, and over character n-grams where a script has no spaces between words."""
