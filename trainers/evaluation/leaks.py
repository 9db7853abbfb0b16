"""Queries that a model is trained on and measured on: what is measured then says little of other queries."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from hf_relabel.builders.rows import folded
from hf_relabel.trainers.evaluation.sets import RetrievalSet

logger = logging.getLogger(__name__)


def warn_of_shared_queries(trained_on: Iterable[str], sets: Sequence[RetrievalSet]) -> None:
    """Warn of each set that asks what the model was trained on.

    Args:
        trained_on: the queries of all rows; they are read once, and only if there is a set.
    """
    asked = {folded(query) for data in sets for query in data.queries.values()}
    if not asked:
        return
    seen = {plain for query in trained_on if (plain := folded(query)) in asked}
    for data in sets:
        shared = sum(folded(query) in seen for query in data.queries.values())
        if shared:
            logger.warning(
                "%s: %d of its %d queries are in the rows that are trained on. What is measured there says little of"
                " other queries: take a set whose queries the rows do not have.",
                data.about.name,
                shared,
                len(data.queries),
            )
