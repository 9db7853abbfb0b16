"""Folders of configs for tests of releases, built from made-up rows and verdicts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.writing import BuildReport, write_configs
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row


def judged_rows(rows: int, seed: int = 0, passage_bytes: int = 60) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """Rows of one positive and four negatives, of which about one in four is a false negative. Two stages judged."""
    chance = random.Random(seed)
    for number in range(rows):
        passages = [Passage(f"d{number}-{index}", "", chance.randbytes(passage_bytes // 2).hex()) for index in range(5)]
        row = Row(f"q{number}", f"query {number} of {seed}", (passages[0],), tuple(passages[1:]), f"set-{number % 2}")
        yield NumberedRow(number, row), [_verdict(position, passages[position + 1], chance) for position in range(4)]


def _verdict(position: int, passage: Passage, chance: random.Random) -> Verdict:
    first = Judgement(chance.choice([Label.BETTER, Label.IRRELEVANT]), 0.5, "because", 10.0, 2.0)
    if first.label is Label.IRRELEVANT:
        return Verdict(position, passage.docid, Outcome.NEGATIVE, "judged", (first, None))
    second = Judgement(chance.choice([Label.BETTER, Label.WORSE]), None, "on second thought", 20.0, 4.0)
    outcome = Outcome.FALSE_NEGATIVE if second.label is Label.BETTER else Outcome.DOUBTFUL
    return Verdict(position, passage.docid, outcome, "judged", (first, second))


def built(folder: Path, rows: int = 40, seed: int = 0, passage_bytes: int = 60, **settings: Any) -> BuildReport:
    """A folder of all configs."""
    return write_configs(
        judged_rows(rows, seed, passage_bytes),
        folder,
        stage_names=["cheap", "accurate"],
        stage_judges=["listwise small", "listwise large"],
        **settings,
    )
