"""The formats a training set comes in, and how they are told from each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import shapes
from hf_relabel.builders.sources.columns import IGNORE, Bound, Columns, Role, Unbound, bind, check_bound, filled, suits
from hf_relabel.builders.sources.fields import Context
from hf_relabel.builders.sources.files import Record

_ID = Role(("query_id",), "any", required=False)
_SUBSET = Role(("subset",), "any", required=False)
_DOCID = Role(("docid",), "any", required=False)
# Whose title a column of that name holds, only the user knows.
_TITLE = Role((), required=False)
# sentence-transformers goes by the order of the columns; these names are recognised in any order.
_QUERY = Role(("query", "anchor", "question", "sentence", "sentence1"))
_POSITIVE = Role(("positive", "pos", "answer", "passage", "document", "sentence2"), several=True)
_PASSAGE = Role(("passage", "document", "doc", "text", "sentence2", "answer", "positive", "pos"))
_PASSAGES = Role(("docs", "documents", "passages", "candidates", "positive", "answer", "document"), "list")
_LABELS = Role(("labels", "label", "relevance"), "list")
_NUMBERED_NEGATIVES = re.compile(r"(?:hard_)?neg(?:ative)?_?\d{1,6}")


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        make: one record as a row, given which of its columns is which. Raises nothing but BadRow.
        roles: what plays a part in a row. A user may say otherwise which columns do, but for a format without roles.
        fixed: whether only the columns of its roles are ever read, all with names of their own.
        groups: whether records that follow each other are one row: those of one query and positive, or of one query.
        needs_mining: whether its rows have no negatives.
        reply: the saved reply in a record and why it ended, for formats that hold replies.
        only: what a record must be besides having the columns.
        sign: what in the values tells it from other formats, where a user did not name the format but its columns.
        scored: whether a record has a place for the scores of its passages, filled or not.
        more: further fields that are read.
    """

    name: str
    description: str
    make: Callable[[Record, Bound, Context], Row]
    roles: Mapping[str, Role]
    fixed: bool = False
    groups: Literal["", "positive", "query"] = ""
    needs_mining: bool = False
    reply: Callable[[Record, Context], tuple[str, str]] | None = None
    only: Callable[[Record, Bound], bool] = lambda record, bound: True
    sign: Callable[[Record, Bound], bool] = lambda record, bound: True
    scored: Callable[[Record], bool] = lambda record: False
    more: frozenset[str] = frozenset()

    def bind(self, record: Record, given: Columns, context: Context) -> Bound:
        """Which column of a record is which.

        Raises:
            BadRow: a column is missing, or cannot be told from another.
        """
        try:
            return bind(self.roles, given, record)
        except Unbound as unbound:
            column = unbound.columns[0] if unbound.columns else unbound.role
            raise context.bad(column, unbound.found, unbound.remedy) from None

    def convert(self, record: Record, context: Context, bound: Bound | None = None) -> Row:
        """One record as a row.

        Raises:
            BadRow: it cannot be one.
        """
        return self.make(record, self.bind(record, {}, context) if bound is None else bound, context)

    def bound_if_fits(self, record: Record, given: Columns, *, named: bool = False) -> Bound | None:
        """The columns of a record that is in this format.

        Args:
            named: whether the user says that it is this format, so that no sign of it is needed.

        Raises:
            Unbound: it would be, but columns could not be told from each other or would be lost.
        """
        if not self.takes(given):
            return None
        bound = filled(self.roles, given, record)
        # A column without a value tells nothing.
        told = {role for role, columns in bound.columns.items() if any(record[name] is not None for name in columns)}
        if any(role.required and name not in told for name, role in self.roles.items()):
            return None
        if not (self._kinds_suit(record, bound) and self.only(record, bound)):
            return None
        if not (named or self.sign(record, bound)):
            return None
        check_bound(self.roles, given, record, bound)
        return bound

    def _kinds_suit(self, record: Record, bound: Bound) -> bool:
        return all(
            suits(record[column], self.roles[role].kind)
            for role, columns in bound.columns.items()
            for column in columns
        )

    def takes(self, given: Columns) -> bool:
        """Whether the format has the roles that columns were given for, and for as many columns."""
        single = [role for role, columns in given.items() if len(columns) > 1 or "*" in columns[0]]
        return all(role in self.roles or role == IGNORE for role in given) and all(
            role == IGNORE or self.roles[role].several for role in single
        )

    def columns(self, given: Columns) -> frozenset[str] | None:
        """The columns it can ever read, None where that depends on the record."""
        if not self.fixed or any("*" in column for columns in given.values() for column in columns):
            return None
        own = {name for role, known in self.roles.items() if role not in given for name in known.names}
        return frozenset(own.union(self.more, *given.values()))


def _is_selection(record: Record, bound: Bound) -> bool:
    passages = record[bound.one("passage")]
    first = passages[0] if isinstance(passages, list) and passages else passages
    return isinstance(first, dict) and {"is_selected", "passage_text"} <= first.keys()


def _lists_of_sides(record: Record, bound: Bound) -> list[list[Any]]:
    columns = (*bound.all("positive"), *bound.all("negative"))
    return [record[column] for column in columns if isinstance(record[column], list)]


def _has_passages(record: Record, bound: Bound) -> bool:
    """Columns of other names that hold lists of texts are of another format."""
    if bound.one("positive") in ("positive_passages", "positive_ctxs"):
        return True
    return any(isinstance(passage, dict) for passages in _lists_of_sides(record, bound) for passage in passages)


def _has_lists(record: Record, bound: Bound) -> bool:
    """One text on each side is a triplet, or several texts an n-tuple, whatever the columns are called."""
    return bool(_lists_of_sides(record, bound)) or shapes.has_score_lists(record)


def _sides(query: Role, positive: Role, negative: Role | None, **more: Role) -> dict[str, Role]:
    negatives = {} if negative is None else {"negative": negative}
    return {"query": query, "positive": positive, **negatives, "id": _ID, "subset": _SUBSET, **more}


_TEVATRON = _sides(
    Role(("query",)),
    Role(("positive_passages",), "list", several=True),
    Role(("negative_passages",), "list", required=False, several=True),
)

_FORMATS = (
    Format(
        "rlhn-replies",
        "Tevatron rows with the judge's saved `response` and `finish_reason`",
        shapes.tevatron_row,
        {**_TEVATRON, "response": Role(("response",), "any"), "finish_reason": Role(("finish_reason",), "any")},
        fixed=True,
        sign=_has_passages,
        reply=shapes.saved_reply,
        scored=shapes.has_scored_passages,
    ),
    Format(
        "tevatron",
        "Tevatron and RLHN rows: query_id, query, positive_passages, negative_passages, subset",
        shapes.tevatron_row,
        _TEVATRON,
        fixed=True,
        sign=_has_passages,
        scored=shapes.has_scored_passages,
    ),
    Format(
        "dpr",
        "DPR rows: question, positive_ctxs, hard_negative_ctxs, negative_ctxs",
        shapes.dpr_row,
        _sides(
            Role(("question", "query")),
            Role(("positive_ctxs",), "list", several=True),
            Role(("hard_negative_ctxs", "negative_ctxs"), "list", required=False, several=True, every=True),
        ),
        fixed=True,
        sign=_has_passages,
    ),
    Format(
        "msmarco",
        "MS MARCO rows: query, passages {passage_text, is_selected}",
        shapes.msmarco_row,
        {"query": Role(("query",)), "passage": Role(("passages",), "passages"), "id": _ID, "subset": _SUBSET},
        fixed=True,
        only=_is_selection,
    ),
    Format(
        "flagembedding",
        "FlagEmbedding and BGE rows: query, pos, neg, and their pos_scores and neg_scores",
        shapes.flagembedding_row,
        _sides(Role(("query",)), Role(("pos",), "texts", several=True), Role(("neg",), "texts", several=True)),
        fixed=True,
        sign=_has_lists,
        scored=shapes.has_score_lists,
        more=shapes.FLAGEMBEDDING_SCORES,
    ),
    Format(
        "negative-list",
        "rows with a list of negatives: query, positive, negatives",
        shapes.list_row,
        _sides(
            _QUERY,
            Role((*_POSITIVE.names, "positives"), "texts", several=True),
            Role(("negatives", "negative", "neg", "hard_negatives", "hard_negative", "hard_neg"), "list", several=True),
        ),
    ),
    Format(
        "triplet",
        "sentence-transformers triplets: anchor, positive, negative; those of one query and positive that follow each"
        " other are one row",
        shapes.triplet_row,
        _sides(_QUERY, _POSITIVE, Role(("negative", "neg", "hard_negative", "hard_neg"))),
        groups="positive",
    ),
    Format(
        "n-tuple",
        "sentence-transformers n-tuples: anchor, positive, negative_1, negative_2, ...",
        shapes.n_tuple_row,
        _sides(_QUERY, _POSITIVE, Role((), several=True, pattern=_NUMBERED_NEGATIVES)),
    ),
    Format(
        "labeled-list",
        "sentence-transformers labelled lists: query, docs, labels",
        shapes.labelled_list_row,
        {"query": _QUERY, "passage": _PASSAGES, "label": _LABELS, "id": _ID, "subset": _SUBSET},
    ),
    Format(
        "labeled-pairs",
        "labelled pairs: query, passage, label; those of one query that follow each other are one row, so sort them by"
        " query",
        shapes.labelled_pair_row,
        {
            "query": _QUERY,
            "passage": _PASSAGE,
            "label": Role(("label", "labels", "relevance", "score"), "label"),
            "id": _ID,
            "subset": _SUBSET,
            "docid": _DOCID,
            "title": _TITLE,
        },
        groups="query",
    ),
    Format(
        "pairs",
        "pairs without negatives: query, positive",
        shapes.pair_row,
        _sides(_QUERY, Role((*_POSITIVE.names, "positives"), "texts", several=True), None, docid=_DOCID, title=_TITLE),
        needs_mining=True,
    ),
    Format(
        "beir",
        "BEIR folders: corpus.jsonl, queries.jsonl, qrels/*.tsv; negatives are mined with BM25",
        shapes.tevatron_row,
        _TEVATRON,
        fixed=True,
        # A folder is recognised by its files, see hf_relabel.builders.sources.beir.
        only=lambda record, bound: False,
    ),
)

FORMATS: dict[str, Format] = {format.name: format for format in _FORMATS}
"""The formats by name, in the order in which they are tried."""
