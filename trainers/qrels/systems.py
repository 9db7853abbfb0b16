"""The systems whose rankings are pooled: TREC run files, BM25, and models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePath

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.qrels.collection import Collection
from hf_relabel.builders.sources.files import COMPRESSED
from hf_relabel.builders.sources.paths import did_you_mean_beside
from hf_relabel.cards.training_report import EvaluationSet
from hf_relabel.trainers.evaluation.beir import without_itself
from hf_relabel.trainers.evaluation.runs import read_run
from hf_relabel.trainers.evaluation.search import TOP_K, Progress, bm25, first
from hf_relabel.trainers.evaluation.sets import Document, RetrievalSet, Run

BM25 = "bm25"
_RUN_FILES = (".trec", ".run", ".txt", ".tsv")

Watched = Callable[[str], AbstractContextManager[Progress]]
"""Given what a model searches, what to tell of the documents done so far."""


def retrieval_set(collection: Collection) -> RetrievalSet:
    """What systems search: the judged queries that are there."""
    return RetrievalSet(
        about=EvaluationSet(name=collection.name, split=collection.files.split, queries=len(collection.queries)),
        queries=collection.queries,
        qrels={query_id: grades for query_id, grades in collection.grades.items() if query_id in collection.queries},
        corpus=lambda: (Document(each["docid"], each["title"], each["text"]) for each in collection.documents()),
        excluded=without_itself(dict(collection.queries)),
    )


def read_systems(names: Sequence[str], data: RetrievalSet, *, depth: int, watched: Watched) -> dict[str, Run]:
    """The runs by what each is called: a file by its name without its ending.

    Args:
        names: files, `bm25`, or models, as `evaluate` takes them.
        depth: documents kept of a query, where a run is made here.

    Raises:
        ConfigError: two have one name, none of a run's queries is judged, or there is no such file or model.
        BadRow, SourceError: a file cannot be read.
    """
    called = [_called(name) for name in names]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise ConfigError(f"Two runs are called {twice!r}. Rename one of the files, or leave one out.")
    runs: dict[str, Run] = {}
    for name, label in zip(names, called, strict=True):
        run = _run(name, data, max(depth, TOP_K), watched)
        if not run.keys() & data.queries.keys():
            raise ConfigError(
                f"{name}: none of its {len(run):,} queries is judged in {data.about.name}. It is a run of another set."
            )
        runs[label] = {query_id: run[query_id] for query_id in data.queries if query_id in run}
    return runs


def rankings(runs: Mapping[str, Run], depth: int) -> dict[str, dict[str, list[str]]]:
    """The first documents of each query, ties as trec_eval breaks them."""
    return {name: {query_id: first(scores, depth) for query_id, scores in run.items()} for name, run in runs.items()}


def _called(name: str) -> str:
    if not Path(name).is_file():
        return name
    path = PurePath(name)
    return PurePath(path.stem).stem if path.suffix in COMPRESSED else path.stem


def _run(name: str, data: RetrievalSet, top_k: int, watched: Watched) -> Run:
    path = Path(name)
    if path.is_file():
        return read_run(path)
    if name == BM25:
        # Of few documents it ranks those too that share no word with the query.
        ranked = bm25(data, top_k=top_k).items()
        return {query_id: {docid: score for docid, score in scores.items() if score > 0} for query_id, scores in ranked}
    if path.suffix in (*_RUN_FILES, *COMPRESSED):
        raise ConfigError(f"There is no run {name!r}.{did_you_mean_beside(path)}")
    from hf_relabel.trainers.evaluation.evaluator import evaluate_model
    from hf_relabel.trainers.loading import load_model
    from hf_relabel.trainers.quiet import quiet_libraries

    with quiet_libraries(), watched(name) as progress:
        return evaluate_model(load_model(name), data, top_k=top_k, progress=progress).run
