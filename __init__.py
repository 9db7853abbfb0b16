"""hf-relabel: find and relabel the false negatives among the hard negatives of retrieval training sets."""
