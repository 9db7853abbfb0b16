"""What a card says of each kind of model: how it is loaded, and what the Hub calls it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """What is said of a kind of model.

    Attributes:
        tags, pipeline: as sentence-transformers (6.2) writes them.
        encoder: its class there.
    """

    name: str
    does: str
    pipeline: str
    tags: tuple[str, ...]
    encoder: str


KINDS = {
    "bi-encoder": Kind(
        "bi-encoder",
        "It turns a query or a passage into a vector; the closer two vectors are, the better the passage fits.",
        "sentence-similarity",
        ("sentence-similarity", "feature-extraction", "dense"),
        "SentenceTransformer",
    ),
    "static": Kind(
        "static embedding model",
        "It has a vector for each token, and that of a text is their mean, so it is fast without a GPU.",
        "sentence-similarity",
        ("sentence-similarity", "feature-extraction", "dense", "static-embeddings"),
        "SentenceTransformer",
    ),
    "sparse": Kind(
        "sparse encoder",
        "It gives a text weights for words of its vocabulary, most of them zero, which an inverted index can search.",
        "feature-extraction",
        ("sparse-encoder", "sparse"),
        "SparseEncoder",
    ),
    "late-interaction": Kind(
        "late-interaction model",
        "It turns each token of a query or a passage into a vector, and compares the two texts token by token.",
        "feature-extraction",
        ("multi-vector", "colbert", "late-interaction"),
        "MultiVectorEncoder",
    ),
    "reranker": Kind(
        "reranker",
        "It reads a query and a passage together and gives a score, to put what a search found in a better order.",
        "text-ranking",
        ("cross-encoder", "reranker"),
        "CrossEncoder",
    ),
}
