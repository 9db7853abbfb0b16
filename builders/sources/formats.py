"""The formats a training set comes in, and how one record of each becomes a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources.fields import (
    Context,
    as_list,
    check_text,
    checked_row,
    field,
    query_text,
    score_of,
    shown,
    structured_passage,
    text_passage,
)
from hf_relabel.builders.sources.files import Record

_ROW_FIELDS = frozenset({"query_id", "query", "positive_passages", "negative_passages", "subset"})
_OPTIONAL = frozenset({"query_id", "subset"})
_REPLY_FIELDS = frozenset({"response", "finish_reason"})
# sentence-transformers goes by the order of the columns; these names are recognised in any order.
_QUERY_NAMES = ("anchor", "query", "question", "sentence")
_POSITIVE_NAMES = ("positive", "pos", "answer", "passage", "document")
_LIST_NAMES = ("docs", "documents", "passages", "candidates", "positive", "answer", "document")
_LABEL_NAMES = ("labels", "label", "relevance")
_SCORE_NAMES = frozenset({"score", "scores", "labels", "label", "margin"})
_FLAGEMBEDDING_SCORES = frozenset({"pos_scores", "neg_scores"})
_NUMBERED_NEGATIVE = re.compile(r"negative_(\d{1,6})$")


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        detect: whether the first records of a file are in this format.
        convert: one record as a row. Raises nothing but BadRow.
        reads: the fields of a record that `convert` reads; all others are ignored.
        columns: the fields it can ever read, None where that depends on the record.
        groups: whether records in a row with the same query and positive are one row.
        reply: the saved reply in a record and why it ended, for formats that hold replies.
        scored: whether a record has a place for the scores of its passages, filled or not.
    """

    name: str
    description: str
    detect: Callable[[Sequence[Record]], bool]
    convert: Callable[[Record, Context], Row]
    reads: Callable[[Record], Collection[str]]
    columns: frozenset[str] | None = None
    groups: bool = False
    reply: Callable[[Record, Context], tuple[str, str]] | None = None
    scored: Callable[[Record], bool] = lambda record: False


def _all_have(*names: str) -> Callable[[Sequence[Record]], bool]:
    return lambda records: bool(records) and all(name in record for record in records for name in names)


def _tevatron_row(record: Record, context: Context) -> Row:
    query = query_text(record, "query", context)
    positives, negatives = (
        tuple(
            structured_passage(passage, f"{name}[{index}]", context)
            for index, passage in enumerate(as_list(field(record, name, context), name, context))
        )
        for name in ("positive_passages", "negative_passages")
    )
    return checked_row(record, query, positives, negatives, "positive_passages", context)


def _flagembedding_row(record: Record, context: Context) -> Row:
    query = query_text(record, "query", context)
    positives, negatives = _texts(record, "pos", context), _texts(record, "neg", context)
    return checked_row(record, query, positives, negatives, "pos", context)


def _texts(record: Record, name: str, context: Context) -> tuple[Passage, ...]:
    value = field(record, name, context)
    texts = [value] if isinstance(value, str) else as_list(value, name, context)
    scores = _scores(record, f"{name}_scores", len(texts), context)
    return tuple(
        text_passage(text, name if isinstance(value, str) else f"{name}[{index}]", context, score)
        for index, (text, score) in enumerate(zip(texts, scores, strict=True))
    )


def _scores(record: Record, name: str, count: int, context: Context) -> list[float | None]:
    """FlagEmbedding's scores of some passages, None for each where the record has none."""
    value = record.get(name)
    if value is None:
        return [None] * count
    scores = value if isinstance(value, list) else [value]
    if len(scores) != count:
        raise context.bad(name, f"{len(scores)} scores for {count} texts", "Give one score, or null, for each text.")
    return [score_of(score, f"{name}[{index}]", context) for index, score in enumerate(scores)]


def _has_scored_passages(record: Record) -> bool:
    sides = (record.get("positive_passages"), record.get("negative_passages"))
    passages = [passage for side in sides if isinstance(side, list) for passage in side]
    return any(isinstance(passage, dict) and "score" in passage for passage in passages)


def _has_score_lists(record: Record) -> bool:
    return not _FLAGEMBEDDING_SCORES.isdisjoint(record)


def _columns(record: Record) -> tuple[str, str]:
    """The query's and the positive's column: by name, else the first and the second that are no negatives."""
    others = [name for name in record if name not in _OPTIONAL | _SCORE_NAMES and not _is_negative(name)]
    query = next((name for name in _QUERY_NAMES if name in others), others[0] if others else "anchor")
    rest = [name for name in others if name != query]
    positive = next((name for name in _POSITIVE_NAMES if name in rest), rest[0] if rest else "positive")
    return query, positive


def _is_negative(name: Any) -> bool:
    return isinstance(name, str) and (name == "negative" or _NUMBERED_NEGATIVE.match(name) is not None)


def _negative_columns(record: Record) -> list[str]:
    found = {name: _NUMBERED_NEGATIVE.match(name) for name in record if isinstance(name, str)}
    numbered = [(int(match[1]), name) for name, match in found.items() if match is not None]
    return [name for _, name in sorted(numbered)]


def _tuple_row(record: Record, context: Context, negatives: Sequence[str]) -> Row:
    query_column, positive_column = _columns(record)
    query = query_text(record, query_column, context)
    positive = text_passage(field(record, positive_column, context), positive_column, context)
    passages = tuple(text_passage(field(record, name, context), name, context) for name in negatives)
    return checked_row(record, query, (positive,), passages, positive_column, context)


def _triplet_row(record: Record, context: Context) -> Row:
    return _tuple_row(record, context, ["negative"])


def _n_tuple_row(record: Record, context: Context) -> Row:
    return _tuple_row(record, context, _negative_columns(record) or ["negative_1"])


def _list_columns(record: Record) -> tuple[str, str, str]:
    """The query's, the documents' and the labels' column: by name, else the first text and the first list."""
    labels = next((name for name in _LABEL_NAMES if name in record), "labels")
    others = [name for name in record if name not in _OPTIONAL | _SCORE_NAMES]
    lists = [name for name in others if isinstance(record[name], list)]
    documents = next((name for name in _LIST_NAMES if name in lists), lists[0] if lists else "docs")
    texts = [name for name in others if name != documents]
    query = next((name for name in _QUERY_NAMES if name in texts), texts[0] if texts else "query")
    return query, documents, labels


def _is_labelled(record: Record) -> bool:
    query, documents, labels = _list_columns(record)
    columns = (record.get(query), record.get(documents), record.get(labels))
    return isinstance(columns[0], str) and isinstance(columns[1], list) and isinstance(columns[2], list)


def _labelled_row(record: Record, context: Context) -> Row:
    query_column, documents_column, labels_column = _list_columns(record)
    query = query_text(record, query_column, context)
    documents = as_list(field(record, documents_column, context), documents_column, context)
    labels = as_list(field(record, labels_column, context), labels_column, context)
    if len(documents) != len(labels):
        found = f"{len(labels)} labels for {len(documents)} documents"
        raise context.bad(labels_column, found, "Give one label, 0 or 1, for each document.")
    positives: list[Passage] = []
    negatives: list[Passage] = []
    for index, (document, label) in enumerate(zip(documents, labels, strict=True)):
        passage = text_passage(document, f"{documents_column}[{index}]", context)
        # 1.0 and true are 1 as well.
        if not isinstance(label, (bool, int, float)) or label not in (0, 1):
            remedy = "Labels are 1 (relevant) or 0 (not): turn scores into labels first."
            raise context.bad(f"{labels_column}[{index}]", shown(label), remedy)
        (positives if label else negatives).append(passage)
    return checked_row(record, query, tuple(positives), tuple(negatives), labels_column, context)


def _saved_reply(record: Record, context: Context) -> tuple[str, str]:
    """The reply and why it ended. Both fields are bare in some files and a list of one in others."""
    response = _only(field(record, "response", context), "response", context)
    return response, _only(field(record, "finish_reason", context), "finish_reason", context)


def _only(value: Any, name: str, context: Context) -> str:
    if isinstance(value, list):
        if len(value) > 1:
            raise context.bad(name, f"a list of {len(value)}", "Keep one reply per row.")
        value = value[0] if value else None
    return "" if value is None else check_text(value, name, context)


def _detect_n_tuple(records: Sequence[Record]) -> bool:
    return bool(records) and all(_negative_columns(record) for record in records)


_FORMATS = (
    Format(
        "rlhn-replies",
        "Tevatron rows with the judge's saved `response` and `finish_reason`",
        _all_have("query", "positive_passages", "response", "finish_reason"),
        _tevatron_row,
        lambda record: _ROW_FIELDS | _REPLY_FIELDS,
        columns=_ROW_FIELDS | _REPLY_FIELDS,
        reply=_saved_reply,
        scored=_has_scored_passages,
    ),
    Format(
        "tevatron",
        "Tevatron and RLHN rows: query_id, query, positive_passages, negative_passages, subset",
        _all_have("query", "positive_passages"),
        _tevatron_row,
        lambda record: _ROW_FIELDS,
        columns=_ROW_FIELDS,
        scored=_has_scored_passages,
    ),
    Format(
        "flagembedding",
        "FlagEmbedding and BGE rows: query, pos, neg, and their pos_scores and neg_scores",
        _all_have("query", "pos", "neg"),
        _flagembedding_row,
        lambda record: _OPTIONAL | _FLAGEMBEDDING_SCORES | {"query", "pos", "neg"},
        columns=_OPTIONAL | _FLAGEMBEDDING_SCORES | {"query", "pos", "neg"},
        scored=_has_score_lists,
    ),
    Format(
        "n-tuple",
        "sentence-transformers n-tuples: anchor, positive, negative_1, negative_2, ...",
        _detect_n_tuple,
        _n_tuple_row,
        lambda record: _OPTIONAL | {*_columns(record), *_negative_columns(record)},
    ),
    Format(
        "triplet",
        "sentence-transformers triplets: anchor, positive, negative",
        _all_have("negative"),
        _triplet_row,
        lambda record: _OPTIONAL | {*_columns(record), "negative"},
        groups=True,
    ),
    Format(
        "labeled-list",
        "sentence-transformers labelled lists: query, docs, labels",
        lambda records: bool(records) and all(_is_labelled(record) for record in records),
        _labelled_row,
        lambda record: _OPTIONAL | {*_list_columns(record)},
    ),
    Format(
        "beir",
        "BEIR folders: corpus.jsonl, queries.jsonl, qrels/*.tsv; negatives are mined with BM25",
        # A folder is recognised by its files, see hf_relabel.builders.sources.beir.
        lambda records: False,
        _tevatron_row,
        lambda record: _ROW_FIELDS,
    ),
)

FORMATS: dict[str, Format] = {format.name: format for format in _FORMATS}
"""The formats by name, in the order in which they are tried."""


def named_format(name: str) -> Format:
    """The format of that name.

    Raises:
        SourceError: there is none.
    """
    if name not in FORMATS:
        raise SourceError(f"There is no format {name!r}. There are: {', '.join(FORMATS)}.")
    return FORMATS[name]


def detected_format(records: Sequence[Record], file: str) -> Format:
    """The first format that fits most of the first records of a file: a bad row among them changes nothing.

    Raises:
        SourceError: none does.
    """
    for format in FORMATS.values():
        if 2 * sum(format.detect([record]) for record in records) > len(records):
            return format
    fields = ", ".join(str(name) for name in list(records[0])[:12]) if records else "nothing"
    known = "; ".join(f"{format.name} ({format.description})" for format in FORMATS.values())
    raise SourceError(f"{file}: no known format has these fields: {fields}. Known are {known}.")
