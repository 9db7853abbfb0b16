"""What models are evaluated on: a corpus, queries, and which documents are relevant to which query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hf_relabel.cards.training_report import EvaluationSet

Qrels = Mapping[str, Mapping[str, int]]
"""By query id: document ids and their grades. A grade of 0 or less is not relevant."""
Run = Mapping[str, Mapping[str, float]]
"""By query id: the documents found and their scores."""


class Document(NamedTuple):
    """A document of a corpus."""

    docid: str
    title: str
    text: str


@dataclass(frozen=True)
class RetrievalSet:
    """A set to evaluate on.

    Attributes:
        about: its name, and where it came from.
        queries: texts by query id: those that have a judgement.
        qrels: see `Qrels`; every query in it is in `queries`.
        corpus: gives the documents, from the first one, each time it is called. They are read as they are asked for.
        excluded: documents never counted for a query (BEIR: ArguAna's and Quora's query is a document itself).
    """

    about: EvaluationSet
    queries: Mapping[str, str]
    qrels: Qrels
    corpus: Callable[[], Iterator[Document]]
    excluded: Mapping[str, frozenset[str]]
