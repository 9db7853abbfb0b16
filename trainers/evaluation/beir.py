"""BEIR folders as evaluation sets (arXiv 2104.08663): corpus.jsonl, queries.jsonl, qrels/test.tsv."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hf_relabel.builders.errors import BadRow, ConfigError, SourceError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.sources.beir import beir_files, document, document_id, judgement
from hf_relabel.builders.sources.fields import Context, query_text
from hf_relabel.builders.sources.files import SourceFile, read_lines
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
    qrels = _qrels(files.qrels)
    queries = _queries(files.queries, qrels)
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


def _qrels(file: SourceFile) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in read_lines(file):
        context = Context(file.name, number)
        try:
            query_id, docid, grade = judgement(line, context)
        except BadRow:
            if number == 1:  # the header
                continue
            raise
        if grade != int(grade):
            raise context.bad("score", f"the grade {grade}", "Grades are whole numbers.")
        qrels.setdefault(query_id, {})[docid] = int(grade)
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        raise SourceError(f"{file.name}: no judgement above 0, so there is nothing to find.")
    return qrels


def _queries(file: SourceFile, qrels: dict[str, dict[str, int]]) -> dict[str, str]:
    queries: dict[str, str] = {}
    for number, record in read_records(file):
        context = Context(file.name, number)
        query_id = document_id(record, context)
        if query_id in qrels and isinstance(record, dict):
            queries[query_id] = query_text(record, "text", context)
    return queries


def _corpus(file: SourceFile) -> Iterator[Document]:
    for number, record in read_records(file):
        context = Context(file.name, number)
        docid = document_id(record, context)
        if isinstance(record, dict):
            passage = document(docid, record, context)
            yield Document(docid, passage["title"], passage["text"])
