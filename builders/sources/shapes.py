"""How one record of each format becomes a row, once it is known which column is which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import Passage, Row, text_docid
from hf_relabel.builders.sources.columns import Bound
from hf_relabel.builders.sources.fields import (
    Context,
    any_passage,
    as_list,
    check_positives,
    check_text,
    field,
    identifier,
    is_relevant,
    listed,
    query_identifier,
    query_text,
    score_of,
    shown,
    structured_passage,
    subset_name,
    text_passage,
)
from hf_relabel.builders.sources.files import Record

SKIP = argument("skip_bad_rows", True)
Passages = tuple[Passage, ...]
Reader = Callable[[Record, str, Context], Passages]


def _row(record: Record, bound: Bound, positives: Passages, negatives: Passages, context: Context) -> Row:
    query = query_text(record, bound.one("query", "query"), context)
    query_id = query_identifier(record, bound.one("id", "query_id"), query, context)
    return Row(query_id, query, positives, negatives, subset_name(record, bound.one("subset", "subset"), context))


def _of_sides(record: Record, bound: Bound, context: Context, read: Reader, negative: str = "") -> Row:
    """A row of formats with columns for each side.

    Args:
        negative: the column of the negatives, where the format does not do without one.
    """
    positives = _side(record, bound.all("positive"), context, read)
    negatives = _side(record, bound.all("negative") or ((negative,) if negative else ()), context, read)
    row = _row(record, bound, positives, negatives, context)
    check_positives(positives, bound.one("positive"), context)
    return row


def _side(record: Record, columns: tuple[str, ...], context: Context, read: Reader) -> Passages:
    if len(columns) == 1:
        return read(record, columns[0], context)
    return tuple([passage for column in columns for passage in read(record, column, context)])


def _structured(record: Record, column: str, context: Context) -> Passages:
    return listed(field(record, column, context), column, context, structured_passage)


def has_scored_passages(record: Record) -> bool:
    sides = (record.get("positive_passages"), record.get("negative_passages"))
    passages = [passage for side in sides if isinstance(side, list) for passage in side]
    return any(isinstance(passage, dict) and "score" in passage for passage in passages)


def tevatron_row(record: Record, bound: Bound, context: Context) -> Row:
    return _of_sides(record, bound, context, _structured, "negative_passages")


def dpr_row(record: Record, bound: Bound, context: Context) -> Row:
    return _of_sides(record, bound, context, _dpr_passages)


def _dpr_passages(record: Record, column: str, context: Context) -> Passages:
    # The score there is BM25's, or 1000 for a positive: no teacher's.
    read = partial(structured_passage, ids=("passage_id", "psg_id", "docid", "id"), score="")
    return listed(field(record, column, context), column, context, read)


def _texts(record: Record, column: str, context: Context) -> Passages:
    """A text or a list of texts or passages; nothing where a column of several is empty in this row."""
    value = field(record, column, context)
    if isinstance(value, list):
        return listed(value, column, context, any_passage)
    return (text_passage(value, column, context),)


FLAGEMBEDDING_SCORES = frozenset({"pos_scores", "neg_scores"})


def has_score_lists(record: Record) -> bool:
    return not FLAGEMBEDDING_SCORES.isdisjoint(record)


def flagembedding_row(record: Record, bound: Bound, context: Context) -> Row:
    return _of_sides(record, bound, context, _scored_texts, "neg")


def _scored_texts(record: Record, column: str, context: Context) -> Passages:
    passages = _texts(record, column, context)
    # Scores are of the sides' own columns, not of others that a user gives.
    scores = record.get(f"{column}_scores") if column in ("pos", "neg") else None
    if scores is None:
        return passages
    name, values = f"{column}_scores", scores if isinstance(scores, list) else [scores]
    if len(values) != len(passages):
        found = f"{len(values)} scores for {len(passages)} texts"
        raise context.bad(name, found, "Give one score, or null, for each text.")
    return tuple(
        replace(passage, score=score_of(value, f"{name}[{index}]", context))
        for index, (passage, value) in enumerate(zip(passages, values, strict=True))
    )


def list_row(record: Record, bound: Bound, context: Context) -> Row:
    return _of_sides(record, bound, context, _texts)


def _text(record: Record, column: str, context: Context) -> Passages:
    return (text_passage(field(record, column, context), column, context),)


def _text_if_any(record: Record, column: str, context: Context) -> Passages:
    """Tables fill the columns of rows with fewer negatives with nulls."""
    return () if record.get(column) is None else _text(record, column, context)


def triplet_row(record: Record, bound: Bound, context: Context) -> Row:
    return _of_sides(record, bound, context, _text)


def n_tuple_row(record: Record, bound: Bound, context: Context) -> Row:
    return _of_sides(record, bound, context, _text_if_any)


def pair_row(record: Record, bound: Bound, context: Context) -> Row:
    row = _of_sides(record, bound, context, _texts)
    if not (bound.all("docid") or bound.all("title")) or len(row.positive_passages) != 1:
        return row
    positive = _named(record, bound, row.positive_passages[0], context)
    return Row(row.query_id, row.query, (positive,), (), row.subset)


def _named(record: Record, bound: Bound, passage: Passage, context: Context) -> Passage:
    """The only passage of a record, with the title and docid that stand in columns of their own."""
    title_column, docid_column = bound.one("title"), bound.one("docid")
    title = record.get(title_column)
    title = passage.title if title is None else check_text(title, title_column, context)
    docid = identifier(record.get(docid_column), docid_column, context)
    return Passage(docid or text_docid(title, passage.text), title, passage.text, passage.score)


def labelled_pair_row(record: Record, bound: Bound, context: Context) -> Row:
    """A row with a passage on one side only. Those of one query are put together afterwards."""
    column, label = bound.one("passage"), bound.one("label")
    passage = any_passage(field(record, column, context), column, context)
    if bound.all("docid") or bound.all("title"):
        passage = _named(record, bound, passage, context)
    relevant = is_relevant(field(record, label, context), label, context)
    return _row(record, bound, (passage,) if relevant else (), () if relevant else (passage,), context)


def labelled_list_row(record: Record, bound: Bound, context: Context) -> Row:
    column, label = bound.one("passage"), bound.one("label")
    documents = as_list(field(record, column, context), column, context)
    labels = as_list(field(record, label, context), label, context)
    if len(documents) != len(labels):
        found = f"{len(labels)} labels for {len(documents)} documents"
        raise context.bad(label, found, "Give one label for each document.")
    passages = listed(documents, column, context, any_passage)
    relevant = [is_relevant(value, f"{label}[{index}]", context) for index, value in enumerate(labels)]
    return _split(record, bound, passages, relevant, label, context)


def _split(record: Record, bound: Bound, passages: Passages, relevant: list[bool], label: str, context: Context) -> Row:
    positives, negatives = (
        tuple(passage for passage, is_so in zip(passages, relevant, strict=True) if is_so is side)
        for side in (True, False)
    )
    row = _row(record, bound, positives, negatives, context)
    check_positives(positives, label, context)
    return row


def msmarco_row(record: Record, bound: Bound, context: Context) -> Row:
    column = bound.one("passage")
    found = list(_msmarco_passages(field(record, column, context), column, context))
    relevant = [
        is_relevant(selected, f"{column}.is_selected[{index}]", context) for index, (_, selected) in _numbered(found)
    ]
    passages = tuple(
        text_passage(text, f"{column}.passage_text[{index}]", context) for index, (text, _) in _numbered(found)
    )
    if not any(relevant):
        raise context.bad(f"{column}.is_selected", "no passage is selected", f"{SKIP} leaves such rows out.")
    return _split(record, bound, passages, relevant, column, context)


def _numbered(found: list[tuple[Any, Any]]) -> Iterator[tuple[int, tuple[Any, Any]]]:
    return iter(enumerate(found))


def _msmarco_passages(value: Any, column: str, context: Context) -> Iterator[tuple[Any, Any]]:
    """Text and `is_selected` of each passage: of a list of objects, or of an object of lists, as the Hub has it."""
    if isinstance(value, dict):
        texts, selected = (
            as_list(field(value, name, context), f"{column}.{name}", context)
            for name in ("passage_text", "is_selected")
        )
        if len(texts) != len(selected):
            found = f"{len(selected)} values for {len(texts)} passages"
            raise context.bad(f"{column}.is_selected", found, "Give one value, 0 or 1, for each passage.")
        yield from zip(texts, selected, strict=True)
        return
    for index, passage in enumerate(as_list(value, column, context)):
        if not isinstance(passage, dict):
            found = f"{shown(passage)} where a passage is needed"
            raise context.bad(f"{column}[{index}]", found, "Write it as {passage_text, is_selected}.")
        yield field(passage, "passage_text", context), field(passage, "is_selected", context)


def saved_reply(record: Record, context: Context) -> tuple[str, str]:
    """The reply and why it ended. Both fields are bare in some files and a list of one in others."""
    response = _only(field(record, "response", context), "response", context)
    return response, _only(field(record, "finish_reason", context), "finish_reason", context)


def _only(value: Any, name: str, context: Context) -> str:
    if isinstance(value, list):
        if len(value) > 1:
            raise context.bad(name, f"a list of {len(value)}", "Keep one reply per row.")
        value = value[0] if value else None
    return "" if value is None else check_text(value, name, context)
