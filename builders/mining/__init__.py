"""Mining: hard negatives for pairs of query and positive, by words (BM25) or by a model's vectors."""
