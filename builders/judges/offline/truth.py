"""A judge that knows: a file of known false negatives in place of a model.

For sets that people have judged already: it says what relabelling could bring at best, and how far a real judge is from
that. A file has a line per row, `{"query_id": …, "false_negatives": [docid, …]}`; other fields are not read. What
has no id of its own can be named by its exact text instead.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from hf_relabel.builders.errors import BadRow, ConfigError
from hf_relabel.builders.judgements import ANSWERS_BY, UNKNOWN_ROW, Judgement, Label
from hf_relabel.builders.judges.protocols import JSON
from hf_relabel.builders.judges.settings import check_text
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.spelling import spelt_out
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources.files import SourceFile, file_digest, local_file
from hf_relabel.builders.sources.reading import read_records

_logger = logging.getLogger(__name__)

_REMEDY = 'A line is {"query_id": "…", "false_negatives": ["docid", …]}, with ids or exact texts.'
_EXAMPLE_CHARACTERS = 60


class TruthJudge:
    """Calls `better` what the file names, and everything else `irrelevant`. Of rows the file lacks it knows nothing:
    they stay unjudged, for the reason `unknown`.

    Example:
            judge("train.jsonl", TruthJudge("truth.jsonl"), "journal.sqlite")

    Args:
        file: JSON lines, gzip and zst too.

    Raises:
        ConfigError: on first use, the file is missing.
        BadRow: on first use, a line cannot be read.
    """

    kind = "truth"
    exempt_subsets = ()
    revision: str | None = None
    batch_rows = 256

    def __init__(self, file: str) -> None:
        check_text("file", file)
        self.name = file
        self._path = Path(file)
        self._lacking = ""
        self._unmatched: dict[str, frozenset[str]] = {}

    def settings(self) -> dict[str, JSON]:
        return {ANSWERS_BY: "ids"}

    def model(self) -> tuple[str, str | None]:
        """(name, revision): the file's name and a digest of its content."""
        digest = file_digest(self._file()).hex()
        return self._path.name, digest[:16]

    def judge(self, batch: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        """One dict per batch item. Of a row that the file lacks nothing is known: `failed`, which is no answer."""
        for row, _ in batch:
            self._match(row)
        return [{position: self._judged(row, position) for position in positions} for row, positions in batch]

    def _match(self, row: Row) -> None:
        """Note what the file names for a query and no row of it has had so far."""
        key = row.query_id if row.query_id in self.known else row.query
        left = self._unmatched.get(key, self.known.get(key, frozenset()))
        if key in self.known:
            self._unmatched[key] = left.difference(*((each.docid, each.text) for each in row.negative_passages))

    def warn_of_unmatched(self) -> None:
        """Say how many false negatives the file names that no negative of their queries is, with one of them."""
        left = {key: names for key, names in self._unmatched.items() if names}
        if not left:
            return
        key, names = next(iter(left.items()))
        _logger.warning(
            "%s names %s that no negative of the query has: nothing was called better for it. The first is %s, of the"
            " query %s. Check the ids.",
            self.name,
            counted(sum(map(len, left.values())), "false negative"),
            _start_of(min(names)),
            _start_of(key),
        )

    @cached_property
    def known(self) -> dict[str, frozenset[str]]:
        """Docids or texts of false negatives, by query id or query; of rows that share a query, those of all."""
        file = self._file()
        known: dict[str, frozenset[str]] = {}
        for number, record in read_records(file):
            if isinstance(record, BadRow):
                raise record
            query_id, docids = record.get("query_id"), record.get("false_negatives")
            if not isinstance(query_id, str):
                raise BadRow(self.name, number, "query_id", "no text", _REMEDY)
            if not isinstance(docids, list) or not all(isinstance(docid, str) for docid in docids):
                raise BadRow(self.name, number, "false_negatives", "no list of docids", _REMEDY)
            known[query_id] = known.get(query_id, frozenset()).union(docids)
        return known

    def _file(self) -> SourceFile:
        if not self._path.is_file():
            raise ConfigError(f"There is no truth file {self.name}.")
        return local_file(self._path, self.name)

    def _judged(self, row: Row, position: int) -> Judgement:
        named = self.known.get(row.query_id, self.known.get(row.query))
        if named is None:
            # One example for all rows, so that people see the same reason once.
            self._lacking = self._lacking or _start_of(row.query)
            what = f"{self._path.name} has no line for its query (the first is {self._lacking})"
            return Judgement(Label.FAILED, rationale=f"{UNKNOWN_ROW}: {what}.")
        return Judgement(Label.BETTER, 1.0) if _is_named(row, position, named) else Judgement(Label.IRRELEVANT, 0.0)


def _is_named(row: Row, position: int, named: frozenset[str]) -> bool:
    """Whether a passage is named by its docid, or by a text that is no docid of its row."""
    passage = row.negative_passages[position]
    if passage.docid in named:
        return True
    return passage.text in named and all(passage.text != other.docid for other in row.passages)


def _start_of(text: str) -> str:
    """The beginning of a text in quotes, as JSON spells it: no line break, nothing that a terminal obeys."""
    words = " ".join(text.split())
    cut = words if len(words) <= _EXAMPLE_CHARACTERS else f"{words[:_EXAMPLE_CHARACTERS]}…"
    return spelt_out(json.dumps(cut, ensure_ascii=False))
