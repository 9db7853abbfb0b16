"""A corpus to mine in, beside the positives: a file, a BEIR folder, texts, or records in any object that holds rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import Passage, text_docid
from hf_relabel.builders.sources.column_names import listed
from hf_relabel.builders.sources.columns import METADATA
from hf_relabel.builders.sources.fields import Context, check_text, identifier, structured_passage
from hf_relabel.builders.sources.files import Record, SourceFile
from hf_relabel.builders.sources.findings import is_blank
from hf_relabel.builders.sources.folders import files_of
from hf_relabel.builders.sources.objects import source_object
from hf_relabel.builders.sources.reading import read_records

_IDS = ("_id", "docid", "id")


def read_corpus(corpus: Any) -> Iterator[Passage]:
    """The passages of a corpus, in its order.

    Args:
        corpus: a file (JSON lines or parquet, compressed too) or a folder of them; a BEIR folder; a list of texts; a
            `datasets.Dataset`, a data frame or a list of dicts. A record has a `text`, perhaps a `title`, and perhaps
            an id (`_id`, `docid` or `id`). The text may be called otherwise where it is the only field.

    Raises:
        SourceError: it is nothing of the kind, cannot be read, or holds no text.
        BadRow: one of the records has no text.
    """
    if isinstance(corpus, (str, os.PathLike)):
        passages = (passage for file in _files(Path(corpus)) for passage in file_passages(file))
        return _with_texts(str(corpus), passages)
    # Of a dict only the names would be read.
    is_plain = isinstance(corpus, Iterable) and not isinstance(corpus, Mapping)
    if is_plain and not hasattr(corpus, "column_names") and not hasattr(corpus, "columns"):
        texts = list(corpus)
        if texts and all(isinstance(text, str) for text in texts):
            return _with_texts("the corpus", (Passage(text_docid("", text), "", text) for text in texts))
        corpus = texts
    records = source_object(corpus, name="the corpus").records()
    return _with_texts("the corpus", _passages("the corpus", records))


def file_passages(file: SourceFile, *, skip_bad: bool = False) -> Iterator[Passage]:
    """The passages of one file of a corpus.

    Args:
        skip_bad: leave out what cannot be used, instead of stopping at the first.
    """
    return _passages(file.name, read_records(file), skip_bad)


def _files(path: Path) -> tuple[SourceFile, ...]:
    found = files_of(path)
    if found.format == "beir":
        return tuple(file for file in found.files if file.name.startswith("corpus.jsonl"))
    return found.files


def _passages(name: str, records: Iterable[tuple[int, Record | BadRow]], skip_bad: bool = False) -> Iterator[Passage]:
    for number, record in records:
        try:
            if isinstance(record, BadRow):
                raise record
            passage = _passage(record, Context(name, number))
        except BadRow:
            if not skip_bad:
                raise
        else:
            yield passage


def _with_texts(name: str, passages: Iterable[Passage]) -> Iterator[Passage]:
    """The passages, as long as one of them says something.

    Raises:
        SourceError: at the end, none does.
    """
    read = texts = 0
    for passage in passages:
        read += 1
        texts += not is_blank(passage)
        yield passage
    if not texts:
        found = f"none of its {read:,} records has a text" if read else "there are no records in it"
        remedy = f"Give records with a `text`, or leave {argument('corpus')} out to mine among the positives alone."
        raise SourceError(f"{name}: {found}. {remedy}")


def _passage(record: Record, context: Context) -> Passage:
    if "text" not in record:
        if len(record) != 1 or not METADATA.isdisjoint(record):
            remedy = f"A passage has a `text`, perhaps title and _id; this record has: {listed(record, 10)}."
            raise context.bad("text", "missing", remedy)
        [(name, text)] = record.items()
        return structured_passage({"text": check_text(text, name, context)}, name, context)
    id_field = next((name for name in _IDS if name in record), None)
    docid = "" if id_field is None else identifier(record[id_field], id_field, context)
    fields = {"docid": docid, "title": record.get("title"), "text": record["text"]}
    return structured_passage(fields, "passage", context)


def check_corpus(corpus: Any) -> None:
    """Whether a corpus that is a path is there, before anything long begins.

    Raises:
        SourceError: it is not.
    """
    if isinstance(corpus, (str, os.PathLike)):
        _files(Path(corpus))
    elif not isinstance(corpus, Iterable) and not hasattr(corpus, "__arrow_c_stream__"):
        raise SourceError(f"The corpus is of type {type(corpus).__name__}. Give a path, texts, or records with a text.")
