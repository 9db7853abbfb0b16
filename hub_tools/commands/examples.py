"""Texts of rows on a terminal: each on one line that fits, with nothing in it that a terminal would obey."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from hf_relabel.builders.cascade.judged_in_run import JudgedRow
from hf_relabel.builders.messages.text_table import WIDTH
from hf_relabel.builders.rows import joined_text
from hf_relabel.cards.example import examples_of_row
from hf_relabel.hub_tools.commands.spelling import printable


def line_of(text: str, *, start: str = "") -> str:
    """A text behind `start` as one line, cut to the terminal as tables are."""
    room = shutil.get_terminal_size((WIDTH, 24)).columns
    line = start + printable(" ".join(text.split()))
    return line if len(line) <= room else line[: room - 1] + "…"


def relabelled_in(judged: JudgedRow) -> Iterator[dict[str, Any]]:
    """The first candidate of a row that `relabel` makes a positive, as plain values; nothing where it makes none."""
    for found in examples_of_row(judged.numbered, judged.verdicts):
        positives = found.row.positive_passages
        yield {
            "query_id": found.row.query_id,
            "query": found.row.query,
            "positive": joined_text(positives[0].title, positives[0].text) if positives else None,
            "docid": found.candidate.docid,
            "candidate": joined_text(found.candidate.title, found.candidate.text),
            "score": found.score,
        }
        return


def examples_text(examples: Sequence[dict[str, Any]]) -> str:
    """What `relabelled_in` gave of some rows, for people."""
    return "\n\n".join(["What relabelling makes a positive, for example", *map(_example_text, examples)])


def _example_text(example: dict[str, Any]) -> str:
    score = "" if example["score"] is None else f", score {example['score']:.3f}"
    lines = [line_of(example["query"], start=f"Query {printable(example['query_id'])}: ")]
    if example["positive"] is not None:
        lines.append(line_of(example["positive"], start="  a positive: "))
    lines.append(line_of(example["candidate"], start=f"  + {printable(example['docid'])}{score}: "))
    return "\n".join(lines)
