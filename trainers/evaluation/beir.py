"""BEIR folders as evaluation sets (arXiv 2104.08663): corpus.jsonl, queries.jsonl, qrels/test.tsv."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.qrels.collection import read_grades, read_queries
from hf_relabel.builders.sources.beir import beir_files, document, document_id
from hf_relabel.builders.sources.fields import Context
from hf_relabel.builders.sources.files import SourceFile
from hf_relabel.builders.sources.folders import beir_folder
from hf_relabel.builders.sources.reading import read_records
from hf_relabel.cards.training_report import EvaluationSet
from hf_relabel.trainers.evaluation.sets import Document, RetrievalSet


@expects(folder=PATH)
def read_beir(folder: str | Path, *, split: str = "test", name: str | None = None) -> RetrievalSet:
    """An evaluation set out of a BEIR folder. The corpus stays on the disk and is read as it is asked for.

    Example:
            data = read_beir("beir/fiqa", split="test")

    Args:
        split: which judgements, `qrels/{split}.tsv`.
        name: of the set; None takes the folder's.

    Raises:
        SourceError: it is no such folder, or a file cannot be read.
        BadRow: a line cannot be used.
        ConfigError: no judged query is in queries.jsonl.
    """
    path = Path(folder)
    found = beir_folder(path)
    files = beir_files(found, str(folder), split)
    qrels = read_grades(files.qrels)
    queries = {query_id: text for query_id, text in read_queries(files.queries, qrels) if text is not None}
    if missing := [query_id for query_id in qrels if query_id not in queries]:
        raise ConfigError(
            f"{folder}: {len(missing)} judged queries, such as {missing[0]!r}, are not in {files.queries.name}. The"
            " judgements are of another set, or the file was cut off."
        )
    return RetrievalSet(
        about=EvaluationSet(name=name or _called(path), split=split, queries=len(queries)),
        queries=queries,
        qrels=qrels,
        corpus=lambda: _corpus(files.corpus),
        excluded=without_itself(queries),
    )


def _called(path: Path) -> str:
    """The folder as it was named, wherever a link leads; of `scifact/beir`, where all are named so, the one above."""
    folder = Path(os.path.abspath(path))
    return folder.parent.name if folder.name == "beir" else folder.name


def without_itself(queries: dict[str, str]) -> dict[str, frozenset[str]]:
    """Each query's own id: a document of that id is the query itself, and never an answer (as BEIR's evaluation)."""
    return {query_id: frozenset([query_id]) for query_id in queries}


def _corpus(file: SourceFile) -> Iterator[Document]:
    for number, record in read_records(file):
        context = Context(file.name, number)
        docid = document_id(record, context)
        if isinstance(record, dict):
            passage = document(docid, record, context)
            yield Document(docid, passage["title"], passage["text"])
