"""BEIR folders: rows from judgements, with hard negatives mined on the way in.

A BEIR folder has no negatives. They are the documents that BM25 ranks highest for the query and that are not among its
judged positives, so some of them are relevant and merely unjudged: just what a judge is for.
"""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import orjson

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources.fields import Context, check_text, field, identifier
from hf_relabel.builders.sources.files import COMPRESSED, Record, SourceFile, read_lines, read_records

if TYPE_CHECKING:
    import bm25s

MINED_NEGATIVES = 20
_SPLITS = ("train", "dev", "test")
_QUERIES_AT_ONCE = 256


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
    """Reads a BEIR folder as records in the Tevatron schema, one per query with a positive.

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
        index, tokenizer = self._index(documents)
        self._mine(index, tokenizer, documents)
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
        for number, line in read_lines(file):
            try:
                query_id, docid, score = judgement(line, Context(file.name, number))
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

    def _index(self, documents: _Documents) -> tuple[bm25s.BM25, Any]:
        import bm25s
        from bm25s.tokenization import Tokenizer

        tokenizer = Tokenizer(stopwords="english")
        tokens = list(tokenizer.streaming_tokenize(self._corpus_texts(documents)))
        if not tokens:
            raise SourceError(f"{self._files.corpus.name}: holds no document.")
        index = bm25s.BM25()
        index.index((tokens, tokenizer.get_vocab_dict()), show_progress=False)
        return index, tokenizer

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

    def _mine(self, index: bm25s.BM25, tokenizer: Any, documents: _Documents) -> None:
        query_ids = list(self._queries)
        for start in range(0, len(query_ids), _QUERIES_AT_ONCE):
            some = query_ids[start : start + _QUERIES_AT_ONCE]
            texts = [self._queries[query_id] for query_id in some]
            tokens = tokenizer.tokenize(texts, update_vocab=False, show_progress=False, return_as="tuple")
            # As many more as may have to be left out: the positives, and the query itself where it is a document.
            spare = 1 + max(len(self._judged[query_id].positives) for query_id in some)
            depth = min(self._negatives + spare, len(documents))
            found, scores = index.retrieve(tokens, k=depth, show_progress=False, n_threads=1, backend_selection="numpy")
            for query_id, positions, values in zip(some, found.tolist(), scores.tolist(), strict=True):
                self._mined[query_id] = self._best(query_id, positions, values, documents)

    def _best(
        self, query_id: str, positions: Sequence[int], scores: Sequence[float], documents: _Documents
    ) -> array[int]:
        left_out = {documents.positions.get(docid, -1) for docid in (query_id, *self._judged[query_id].positives)}
        # Equal scores are put in the order of the corpus, so that the rows are the same every time.
        ranked = sorted(zip(scores, positions, strict=True), key=lambda pair: (-pair[0], pair[1]))
        kept = [position for score, position in ranked if score > 0 and position not in left_out]
        return array("q", kept[: self._negatives])


class _Documents:
    """The corpus in a temporary file; in memory only where each document starts."""

    def __init__(self) -> None:
        self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed with this object
        self._starts = array("q", [0])
        self.positions: dict[str, int] = {}
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def append(self, passage: Record) -> None:
        content = orjson.dumps(passage)
        self._file.seek(self._starts[-1])
        self._file.write(content)
        self.positions[passage["docid"]] = len(self)
        self._starts.append(self._starts[-1] + len(content))

    def __getitem__(self, position: int) -> Record:
        start, end = self._starts[position], self._starts[position + 1]
        self._file.seek(start)
        return cast(Record, orjson.loads(self._file.read(end - start)))


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
