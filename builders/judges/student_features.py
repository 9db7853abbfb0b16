"""What the student judge knows of a candidate: closeness to query and ground truth, shared words, its place in the row.

Everything is computed from the row alone, all its negatives included, so a candidate's features do not depend on which
others are asked about.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from hf_relabel.builders.rows import Passage, Row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

_WORD = re.compile(r"\w+")

FEATURES = (
    "query_closeness",
    "positive_closeness",
    "positive_mean",
    "query_positive",
    "similarity",
    "query_standing",
    "positive_standing",
    "query_rank",
    "positive_rank",
    "neighbours",
    "nearest_neighbour",
    "query_words",
    "positive_words",
    "query_rare_words",
    "positive_rare_words",
    "length",
    "query_closeness_squared",
    "positive_closeness_squared",
    "closeness_product",
)
"""In the order of the columns."""


def text_of(passage: Passage) -> str:
    """The passage as one text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def row_features(row: Row, query: Values, positives: Values, negatives: Values) -> Values:
    """The features of all negatives of a row (negatives × features).

    Args:
        query, positives, negatives: unit vectors of the row's texts: (size), (positives × size), (negatives × size).
    """
    import numpy as np

    to_query = negatives @ query
    if len(positives):
        to_positives = negatives @ positives.T
        closest = to_positives.argmax(axis=1)
        to_positive, mean = to_positives.max(axis=1), to_positives.mean(axis=1)
        base = (positives @ query)[closest]
    else:
        to_positive = mean = to_query
        base = np.full(len(negatives), 1.0)
    among = negatives @ negatives.T
    np.fill_diagonal(among, -1.0)
    others = max(1, len(negatives) - 1)
    columns = [
        to_query,
        to_positive,
        mean,
        base,
        to_query + to_positive - base,
        _standing(to_query),
        _standing(to_positive),
        _rank(to_query),
        _rank(to_positive),
        (among.sum(axis=1) + 1) / others,
        among.max(axis=1, initial=-1.0) if len(negatives) > 1 else np.zeros(len(negatives)),
        *_shared_words(row),
        to_query**2,
        to_positive**2,
        to_query * to_positive,
    ]
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _standing(values: Values) -> Values:
    """How far each lies above the mean of the row, in standard deviations."""
    found: Values = (values - values.mean()) / (values.std() + 1e-6)
    return found


def _rank(values: Values) -> Values:
    """0 for the greatest of the row, 1 for the least; equal values have equal ranks."""
    import numpy as np

    above = (values[None, :] > values[:, None] + 1e-9).sum(axis=1)
    found: Values = above / max(1, len(values) - 1)
    return np.asarray(found)


def _shared_words(row: Row) -> list[list[float]]:
    """Shares of words in common with the query and the positives, plain and by rarity in the row, and the length."""
    query = _words(row.query)
    truth = [_words(text_of(passage)) for passage in row.positive_passages]
    candidates = [_words(text_of(passage)) for passage in row.negative_passages]
    frequency = Counter(word for words in (*truth, *candidates) for word in words)
    texts = len(truth) + len(candidates)
    rarity = {word: math.log((texts + 1) / number) for word, number in frequency.items()}
    size = sum(len(text_of(passage)) for passage in row.positive_passages) / max(1, len(truth))

    def rare(words: frozenset[str], other: frozenset[str]) -> float:
        whole = sum(rarity.get(word, 0.0) for word in other)
        return sum(rarity.get(word, 0.0) for word in words & other) / whole if whole else 0.0

    return [
        [_jaccard(words, query) for words in candidates],
        [max((_jaccard(words, other) for other in truth), default=0.0) for words in candidates],
        [rare(words, query) for words in candidates],
        [max((rare(words, other) for other in truth), default=0.0) for words in candidates],
        [math.log((len(text_of(passage)) + 1) / (size + 1)) for passage in row.negative_passages],
    ]


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0
