"""A BEIR folder as the judgements of one split stand in it, mistakes included."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.rows import folded
from hf_relabel.builders.sources.beir import BeirFiles, OneGrade, beir_files, document, document_id, judgement
from hf_relabel.builders.sources.fields import Context, query_text
from hf_relabel.builders.sources.files import Record, SourceFile, local_file, read_lines
from hf_relabel.builders.sources.folders import beir_folder
from hf_relabel.builders.sources.reading import read_records

Grades = Mapping[str, Mapping[str, int]]
"""By query id: docids and their grades. A grade of 0 or less is not relevant."""


@dataclass(frozen=True)
class Collection:
    """A split of a BEIR folder.

    Attributes:
        name: the folder's.
        files: those of the split, and `others`, the judgements of other splits.
        grades: as the file has them.
        queries: texts of the judged queries, as far as they are there.
        never_judged: ids of queries that no split judges.
    """

    name: str
    files: BeirFiles
    others: tuple[SourceFile, ...]
    grades: Grades
    queries: Mapping[str, str]
    never_judged: tuple[str, ...] = ()

    def documents(self) -> Iterator[Record]:
        """The corpus, `{docid, title, text}`, from its first line.

        Raises:
            BadRow: a line cannot be used.
        """
        for number, record in read_records(self.files.corpus):
            context = Context(self.files.corpus.name, number)
            docid = document_id(record, context)
            if isinstance(record, dict):
                yield document(docid, record, context)

    def relevant(self, query_id: str) -> list[str]:
        """The docids that were judged relevant for a query, in the order of the file."""
        return [docid for docid, grade in self.grades.get(query_id, {}).items() if grade > 0]


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with judgements, or may be.

    Attributes:
        dangling_queries: judged, and not in queries.jsonl.
        dangling_documents: judgements (query id, docid) that name no document of the corpus.
        same_queries: ids of judged queries that have one text, whatever its case and blanks.
        without_relevant: judged queries without a relevant document that is in the corpus.
        never_judged: queries that no split judges.
    """

    dangling_queries: tuple[str, ...]
    dangling_documents: tuple[tuple[str, str], ...]
    same_queries: tuple[tuple[str, ...], ...]
    without_relevant: tuple[str, ...]
    never_judged: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "dangling_queries": list(self.dangling_queries),
            "dangling_documents": [list(pair) for pair in self.dangling_documents],
            "same_queries": [list(ids) for ids in self.same_queries],
            "without_relevant": list(self.without_relevant),
            "never_judged": list(self.never_judged),
        }


def read_collection(folder: str | Path, *, split: str = "test") -> Collection:
    """A split of a BEIR folder. The corpus stays on the disk.

    Unlike an evaluation set it may have judgements that name no query or no document.

    Raises:
        SourceError: it is no such folder, has no such split, or its judgements have nothing above 0.
        BadRow: a line cannot be used.
    """
    found = beir_folder(Path(folder))
    files = beir_files(found, str(folder), split)
    others = tuple(file for file in found if file.name.startswith("qrels/") and file.name != files.qrels.name)
    grades = read_grades(files.qrels)
    elsewhere = {query_id for file in others for _, query_id, _, _ in judgements(file)}
    queries: dict[str, str] = {}
    never: list[str] = []
    for query_id, text in read_queries(files.queries, grades):
        if text is not None:
            queries[query_id] = text
        elif query_id not in elsewhere:
            never.append(query_id)
    return Collection(files.corpus.subset, files, others, grades, queries, tuple(never))


def find(collection: Collection, documents: Container[str]) -> Findings:
    """What is wrong with the judgements.

    Args:
        documents: the judged docids that the corpus has.
    """
    grades, queries = collection.grades, collection.queries
    by_text: dict[str, list[str]] = {}
    for query_id, text in queries.items():
        by_text.setdefault(folded(text), []).append(query_id)
    return Findings(
        dangling_queries=tuple(query_id for query_id in grades if query_id not in queries),
        dangling_documents=tuple(
            (query_id, docid) for query_id, judged in grades.items() for docid in judged if docid not in documents
        ),
        same_queries=tuple(tuple(ids) for ids in by_text.values() if len(ids) > 1),
        without_relevant=tuple(
            query_id for query_id in queries if not any(docid in documents for docid in collection.relevant(query_id))
        ),
        never_judged=collection.never_judged,
    )


def read_grades(file: SourceFile | str | Path) -> dict[str, dict[str, int]]:
    """A file of judgements, `query-id<TAB>corpus-id<TAB>score`, with or without a header.

    Raises:
        SourceError: it cannot be read, or has no judgement above 0.
        BadRow: a line cannot be used, a grade is no whole number, or a document has two of a query.
    """
    file = file if isinstance(file, SourceFile) else local_file(Path(file), str(file))
    grades: dict[str, dict[str, int]] = {}
    once = OneGrade()
    for number, query_id, docid, grade in judgements(file):
        once.check(query_id, docid, grade, Context(file.name, number))
        grades.setdefault(query_id, {})[docid] = grade
    if not any(grade > 0 for judged in grades.values() for grade in judged.values()):
        raise SourceError(f"{file.name}: no judgement above 0, so there is nothing to find.")
    return grades


def judgements(file: SourceFile) -> Iterator[tuple[int, str, str, int]]:
    """Its lines: number, query id, docid and grade. Raises: BadRow, as `read_grades`."""
    for number, line in read_lines(file):
        context = Context(file.name, number)
        try:
            query_id, docid, grade = judgement(line, context)
        except BadRow:
            if number == 1:  # the header
                continue
            raise
        if not grade.is_integer():  # nor is an infinite one
            raise context.bad("score", f"the grade {grade}", "Grades are whole numbers.")
        yield number, query_id, docid, int(grade)


def read_queries(file: SourceFile, wanted: Container[str]) -> Iterator[tuple[str, str | None]]:
    """Ids and texts, None for the text of one that is not wanted. Raises: BadRow, where a line cannot be used."""
    for number, record in read_records(file):
        context = Context(file.name, number)
        query_id = document_id(record, context)
        if isinstance(record, dict):
            yield query_id, query_text(record, "text", context) if query_id in wanted else None


def listed(ids: Sequence[object], most: int = 3) -> str:
    """The first of some ids, for a message."""
    shown = [" ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in ids[:most]]
    return ", ".join([*(each[:80] for each in shown), *(["…"] if len(ids) > most else [])])
