"""Queries that a model is trained on and measured on: what is measured there says little of other queries."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from hf_relabel.builders.rows import folded
from hf_relabel.trainers.evaluation.sets import RetrievalSet

logger = logging.getLogger(__name__)

_WORD = re.compile(r"\w+")

Shared = Mapping[str, frozenset[str]]
"""By name of a set: the ids of its queries that are trained on. Sets without any are not in it."""


def shared_queries(trained_on: Iterable[str], sets: Sequence[RetrievalSet]) -> Shared:
    """The queries of each set that are trained on too: the same words in the same order, whatever the case, the
    blanks, the punctuation and the form of Unicode.

    Args:
        trained_on: the queries of all rows. They are read once, and only if there is a set; a hash of each query of the
            sets is held, and none of theirs.
    """
    hashes = {data.about.name: {key: _digest(query) for key, query in data.queries.items()} for data in sets}
    asked = {digest for by_id in hashes.values() for digest in by_id.values()}
    if not asked:
        return {}
    seen = {digest for query in trained_on if (digest := _digest(query)) in asked}
    found = {name: frozenset(key for key, digest in by_id.items() if digest in seen) for name, by_id in hashes.items()}
    return {name: keys for name, keys in found.items() if keys}


def warn_of(
    shared: Shared, sets: Sequence[RetrievalSet], consequence: str, *, where: str = "the rows that are trained on"
) -> None:
    """Warn of each set that has such queries.

    Args:
        consequence: a sentence on what follows from it.
    """
    for data in sets:
        if keys := shared.get(data.about.name):
            name, count = data.about.name, len(data.queries)
            logger.warning("%s: %d of its %d queries are in %s. %s", name, len(keys), count, where, consequence)


def without_queries(data: RetrievalSet, query_ids: Collection[str]) -> RetrievalSet:
    """The set without some of its queries."""
    if not query_ids:
        return data
    kept = {key: query for key, query in data.queries.items() if key not in query_ids}
    qrels = {key: grades for key, grades in data.qrels.items() if key in kept}
    return replace(data, about=data.about.model_copy(update={"queries": len(kept)}), queries=kept, qrels=qrels)


def _digest(query: str) -> bytes:
    plain = unicodedata.normalize("NFKC", query).casefold()
    words = " ".join(_WORD.findall(plain)) or folded(query)
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest()
