"""Why candidates of a source have no answer of the judges of a run, whatever else their journal holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from hf_relabel.builders.cascade.judged_in_run import JudgedRow
from hf_relabel.builders.cascade.suspects import Rows
from hf_relabel.builders.cascade.verdicts import judged_rows
from hf_relabel.builders.journal.answers import Failure
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label

MOST_REASONS = 10_000
"""Kept apart: what is said of a failure may be another text for each."""


def unanswered_reasons(source: Rows, journal: Journal, run: Mapping[str, Any]) -> list[tuple[Failure, int]]:
    """What went wrong, the most frequent first: for each reason the first candidate, and how many there are.

    Args:
        source: the rows that were judged; read once.
        run: the settings of the run whose judges are looked at.
    """
    first: dict[tuple[Label, str], Failure] = {}
    counts: Counter[tuple[Label, str]] = Counter()
    seen: set[bytes] = set()
    for row in judged_rows(source, journal, run):
        for key, failure in _failures(row):
            reason = (failure.label, failure.message)
            if key in seen or (reason not in first and len(first) == MOST_REASONS):
                continue
            seen.add(key)  # the same text twice is asked about once
            first.setdefault(reason, failure)
            counts[reason] += 1
    return [(first[reason], number) for reason, number in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]


def first_failure(source: Rows, journal: Journal, run: Mapping[str, Any]) -> str | None:
    """What went wrong at the first candidate without an answer; None where nothing did. Arguments as above."""
    found = (failure for row in judged_rows(source, journal, run) for _, failure in _failures(row))
    return next((failure.message for failure in found), None)


def _failures(judged: JudgedRow) -> Iterator[tuple[bytes, Failure]]:
    row = judged.numbered.row
    for view in judged.views:
        for keys, said in zip(view.keys, view.said, strict=True):
            for position, word in said.items():
                if not word.label.is_answer:
                    docid = row.negative_passages[position].docid
                    yield keys[position], Failure(row.query_id, docid, word.label, word.rationale)
