"""BEIR folders: rows from judgements, with hard negatives mined on the way in.

A BEIR folder has no negatives. They are the documents that BM25 ranks highest for the query and that are not among its
judged positives, so some of them are relevant and merely unjudged: just what a judge is for.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from hf_relabel.builders.bm25.word_index import QUERIES_AT_ONCE, WordIndex
from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources.fields import Context, check_text, field, identifier
from hf_relabel.builders.sources.files import COMPRESSED, Record, SourceFile, read_lines
from hf_relabel.builders.sources.reading import read_records
from hf_relabel.builders.sources.records import StoredRecords

MINED_NEGATIVES = 20
_SPLITS = ("train", "dev", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BeirFiles:
    """The files of a BEIR folder that are read for one split."""

    corpus: SourceFile
    queries: SourceFile
    qrels: SourceFile
    split: str


def is_beir(names: Sequence[str]) -> bool:
    """Whether the files of a folder, by their names, make a BEIR folder."""
    bare = {_bare(name) for name in names}
    has_judgements = any(name.startswith("qrels/") and name.endswith(".tsv") for name in bare)
    return {"corpus.jsonl", "queries.jsonl"} <= bare and has_judgements


def beir_files(files: Sequence[SourceFile], name: str, split: str | None) -> BeirFiles:
    """Pick the corpus, the queries and one split of the judgements: train, dev or test, the first there is.

    Raises:
        SourceError: a file or the split is missing.
    """
    by_name = {_bare(file.name): file for file in files}
    missing = [wanted for wanted in ("corpus.jsonl", "queries.jsonl") if wanted not in by_name]
    if missing:
        raise SourceError(
            f"{name}: {' and '.join(missing)} missing. A BEIR folder holds corpus.jsonl, queries.jsonl, qrels/."
        )
    judged = {PurePosixPath(bare).stem: file for bare, file in by_name.items() if PurePosixPath(bare).suffix == ".tsv"}
    if not judged:
        raise SourceError(f"{name}: no judgements (qrels/train.tsv, dev.tsv or test.tsv).")
    chosen = split or next((usual for usual in _SPLITS if usual in judged), min(judged))
    if chosen not in judged:
        raise SourceError(f"{name}: there is no split {chosen!r} in qrels/. There are: {', '.join(sorted(judged))}.")
    return BeirFiles(by_name["corpus.jsonl"], by_name["queries.jsonl"], judged[chosen], chosen)


def _bare(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("") if path.suffix in COMPRESSED else path)


@dataclass(frozen=True)
class _Judged:
    """A query's positives, with the line of the judgements file that names each."""

    number: int
    positives: dict[str, int]


class BeirReader:
    """Reads a BEIR folder as records in the Tevatron schema, one per query with a positive; 0 `negatives` mines none.

    The corpus is read once, into a temporary file, and its documents are taken from there one at a time. In memory are
    the BM25 index while negatives are mined, afterwards only their positions.
    """

    def __init__(self, files: BeirFiles, negatives: int = MINED_NEGATIVES) -> None:
        self._files = files
        self._negatives = negatives
        self._documents: _Documents | None = None
        self._judged: dict[str, _Judged] = {}
        self._queries: dict[str, str] = {}
        self._mined: dict[str, array[int]] = {}
        self._bad: list[tuple[SourceFile, BadRow]] = []

    def records(self) -> Iterator[tuple[SourceFile, int, Record | BadRow]]:
        """(file, row number in that file, record) for each judged query, in the order of the judgements."""
        if self._documents is None:
            self._read()
        yield from ((file, bad.number, bad) for file, bad in self._bad)
        for query_id, judged in self._judged.items():
            yield self._files.qrels, judged.number, self._record(query_id, judged)

    def _read(self) -> None:
        self._bad.clear()
        self._judged = self._read_judgements()
        self._queries = self._read_queries()
        documents = _Documents()
        texts = self._corpus_texts(documents)
        if self._negatives:
            self._mine(WordIndex(texts), documents)
        else:
            deque(texts, maxlen=0)
        if not len(documents):
            raise SourceError(f"{self._files.corpus.name}: holds no document.")
        self._documents = documents

    def _record(self, query_id: str, judged: _Judged) -> Record | BadRow:
        documents = cast(_Documents, self._documents)
        context = Context(self._files.qrels.name, judged.number)
        if query_id not in self._queries:
            return context.bad(
                "query-id", f"the query {query_id[:80]!r} is not in queries.jsonl", "Add it or drop the line."
            )
        for docid, number in judged.positives.items():
            if docid not in documents.positions:
                found = f"the document {docid[:80]!r} is not in corpus.jsonl"
                return Context(context.file, number).bad("corpus-id", found, "Add it or drop the line.")
        return {
            "query_id": query_id,
            "query": self._queries[query_id],
            "positive_passages": [documents[documents.positions[docid]] for docid in judged.positives],
            "negative_passages": [documents[position] for position in self._mined.get(query_id, ())],
        }

    def _read_judgements(self) -> dict[str, _Judged]:
        file = self._files.qrels
        judged: dict[str, _Judged] = {}
        grades = OneGrade()
        for number, line in read_lines(file):
            context = Context(file.name, number)
            try:
                query_id, docid, score = judgement(line, context)
                grades.check(query_id, docid, score, context)
            except BadRow as bad:
                if number > 1:  # The first line is the header.
                    self._bad.append((file, bad))
                continue
            if score > 0:
                judged.setdefault(query_id, _Judged(number, {})).positives.setdefault(docid, number)
        if not judged and not self._bad:
            raise SourceError(f"{file.name}: no judgement above 0, so no query has a positive.")
        return judged

    def _read_queries(self) -> dict[str, str]:
        queries: dict[str, str] = {}
        for number, record in read_records(self._files.queries):
            context = Context(self._files.queries.name, number)
            try:
                query_id = document_id(record, context)
                if query_id in self._judged:
                    queries[query_id] = check_text(field(cast(Record, record), "text", context), "text", context)
            except BadRow as bad:
                self._bad.append((self._files.queries, bad))
        return queries

    def _corpus_texts(self, documents: _Documents) -> Iterator[str]:
        for number, record in read_records(self._files.corpus):
            context = Context(self._files.corpus.name, number)
            try:
                docid = document_id(record, context)
                passage = document(docid, cast(Record, record), context)
                if docid in documents.positions:
                    raise context.bad("_id", f"the id {docid[:80]!r} a second time", "Give each document its own id.")
            except BadRow as bad:
                self._bad.append((self._files.corpus, bad))
                continue
            documents.append(passage)
            yield f"{passage['title']} {passage['text']}"

    def _mine(self, index: WordIndex, documents: _Documents) -> None:
        query_ids = list(self._queries)
        for start in range(0, len(query_ids), QUERIES_AT_ONCE):
            some = query_ids[start : start + QUERIES_AT_ONCE]
            # As many more as may have to be left out: the positives, and the query itself where it is a document.
            spare = 1 + max(len(self._judged[query_id].positives) for query_id in some)
            found = index.best([self._queries[query_id] for query_id in some], self._negatives + spare)
            for query_id, ranked in zip(some, found, strict=True):
                named = (query_id, *self._judged[query_id].positives)
                left_out = {documents.positions.get(docid, -1) for docid in named}
                kept = [position for position, score in ranked if score > 0 and position not in left_out]
                self._mined[query_id] = array("q", kept[: self._negatives])
        self._tell_of_none()

    def _tell_of_none(self) -> None:
        none = sum(not mined for mined in self._mined.values())
        if none:
            logger.warning(
                f"{self._files.qrels.name}: BM25 finds no negatives for {none:,} of {len(self._mined):,} queries: no"
                " other document shares a word with them."
            )


class _Documents(StoredRecords):
    """The corpus, and where in it each document is."""

    def __init__(self) -> None:
        super().__init__()
        self.positions: dict[str, int] = {}

    def append(self, record: Record) -> None:
        self.positions[record["docid"]] = len(self)
        super().append(record)


def document_id(record: Record | BadRow, context: Context) -> str:
    if isinstance(record, BadRow):
        raise record
    found = identifier(field(record, "_id", context), "_id", context)
    if not found:
        raise context.bad("_id", "no id", "Give it an id: the judgements name it by that.")
    return found


def document(docid: str, record: Record, context: Context) -> Record:
    title = record.get("title")
    title = "" if title is None else check_text(title, "title", context)
    return {"docid": docid, "title": title, "text": check_text(field(record, "text", context), "text", context)}


class OneGrade:
    """Sees to it that no judgement of a file has two grades: which of them counts nobody could tell."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, tuple[float, int]]] = {}

    def check(self, query_id: str, docid: str, grade: float, context: Context) -> None:
        """Raises: BadRow, an earlier line has another grade. The same grade again says nothing new."""
        earlier, number = self._seen.setdefault(query_id, {}).setdefault(docid, (grade, context.number))
        if earlier != grade:
            found = (
                f"{grade:g} for the document {docid[:80]!r} of query {query_id[:80]!r}, which has {earlier:g} in row"
            )
            raise context.bad("score", f"{found} {number}", "Leave one of the two lines.")


def judgement(line: bytes, context: Context) -> tuple[str, str, float]:
    remedy = "A line is `query-id<TAB>corpus-id<TAB>score`."
    try:
        fields = line.decode().rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        raise context.bad("query-id", "text that is not UTF-8", remedy) from None
    if len(fields) != 3 or not fields[0] or not fields[1]:
        raise context.bad("query-id", f"{len(fields)} fields, some of them empty or missing", remedy)
    try:
        score = float(fields[2])
    except ValueError:
        raise context.bad("score", f"{fields[2][:30]!r} is not a number", remedy) from None
    if score != score:
        raise context.bad("score", "NaN", remedy)
    return fields[0], fields[1], score
