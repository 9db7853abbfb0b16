"""What the student judge knows of a candidate: closeness to query and ground truth, shared words, its place in the row.

Everything is computed from the row alone, all its negatives included, so a candidate's features do not depend on which
others are asked about.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from hf_relabel.builders.rows import Passage, Row, joined_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

_WORD = re.compile(r"\w+")

FEATURES = (
    "similarity",
    "query_closeness",
    "positive_closeness",
    "query_positive",
    "query_standing",
    "positive_standing",
    "neighbours",
    "nearest_neighbour",
    "query_rare_words",
    "positive_rare_words",
)
"""In the order of the columns."""


def text_of(passage: Passage) -> str:
    """The passage as one text."""
    return joined_text(passage.title, passage.text)


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
        to_positive = to_positives.max(axis=1)
        base = (positives @ query)[closest]
    else:
        to_positive, base = to_query, np.full(len(negatives), 1.0)
    among = negatives @ negatives.T
    np.fill_diagonal(among, -1.0)
    others = max(1, len(negatives) - 1)
    columns = [
        to_query + to_positive - base,
        to_query,
        to_positive,
        base,
        _standing(to_query),
        _standing(to_positive),
        (among.sum(axis=1) + 1) / others,
        among.max(axis=1, initial=-1.0) if len(negatives) > 1 else np.zeros(len(negatives)),
        *_shared_words(row),
    ]
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _standing(values: Values) -> Values:
    """How far each lies above the mean of the row, in standard deviations."""
    found: Values = (values - values.mean()) / (values.std() + 1e-6)
    return found


def _shared_words(row: Row) -> list[list[float]]:
    """The share of the query's words, and of a positive's, that a candidate has, weighed by their rarity in the row."""
    query = _words(row.query)
    truth = [_words(text_of(passage)) for passage in row.positive_passages]
    candidates = [_words(text_of(passage)) for passage in row.negative_passages]
    frequency = Counter(word for words in (*truth, *candidates) for word in words)
    texts = len(truth) + len(candidates)
    rarity = {word: math.log((texts + 1) / number) for word, number in frequency.items()}

    def shared(words: frozenset[str], other: frozenset[str]) -> float:
        whole = sum(rarity.get(word, 0.0) for word in sorted(other))
        return sum(rarity.get(word, 0.0) for word in sorted(words & other)) / whole if whole else 0.0

    return [
        [shared(words, query) for words in candidates],
        [max((shared(words, other) for other in truth), default=0.0) for words in candidates],
    ]


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))
