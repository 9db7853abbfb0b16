"""What one run of a journal says of each row: the answers of its stages, and the verdicts that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.rules import Findings, StageAnswers, candidates_of_stage, conclude
from hf_relabel.builders.cascade.run_stages import RunStage, stages_of_run
from hf_relabel.builders.cascade.zones import zoned
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources.findings import free_findings
from hf_relabel.builders.sources.subsets import is_exempt

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.cascade.suspects import Rows

ROWS_AT_ONCE = 32
"""Rows that are looked up in the journal together, and so the most that are read ahead."""


@dataclass(frozen=True, slots=True)
class StageView:
    """What one stage was asked about in one row, and what is known of it.

    Attributes:
        keys: per judge, the journal keys of the candidates by position.
        said: per judge, its answers by position.
        word: the stage's own word by position, of its judges combined.
    """

    keys: tuple[dict[int, bytes], ...]
    said: tuple[StageAnswers, ...]
    word: StageAnswers


def stage_views(
    rows: Sequence[tuple[Row, Findings]], stages: Sequence[RunStage], journal: Journal
) -> list[list[StageView]]:
    """For each row and stage, what the stage is asked about the row and what the journal knows of it.

    The journal is asked once per judge for all rows: a question for each row would cost as much as the rest of the work
    on it.
    """
    rules = [stage.rule for stage in stages]
    views: list[list[StageView]] = [[] for _ in rows]
    for stage in stages:
        asked = [
            (row, candidates_of_stage(row, findings, rules, [view.word for view in before]))
            for (row, findings), before in zip(rows, views, strict=True)
        ]
        of_judges = [journal.known(judge, asked) for judge in stage.judges]
        for before, *of_row in zip(views, *of_judges, strict=True):
            keys, said = zip(*of_row, strict=True)
            before.append(StageView(keys, said, stage.combined(said)))
    return views


def in_batches(rows: Iterable[NumberedRow]) -> Iterator[list[NumberedRow]]:
    """Rows by as many as are looked up in a journal at once."""
    left = iter(rows)
    while batch := list(islice(left, ROWS_AT_ONCE)):
        yield batch


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A row with everything its run says of it. `views` is empty for an exempt row."""

    numbered: NumberedRow
    verdicts: list[Verdict]
    findings: Findings
    views: tuple[StageView, ...] = ()


def judged_in_run(
    source: Rows, journal: Journal, settings: Mapping[str, Any], calibration: Calibration | None = None
) -> Iterator[JudgedRow]:
    """As `verdicts.judged_rows`, for the settings of a run."""
    if calibration is not None:
        calibration.check_judges(settings)
    stages = stages_of_run(settings)
    rules = [stage.rule for stage in stages]
    exempt = frozenset(settings["exempt"])
    for batch in in_batches(source.rows()):
        findings = [free_findings(numbered.row) for numbered in batch]
        asked = [not is_exempt(numbered.row, exempt) for numbered in batch]
        to_look_up = [(batch[index].row, findings[index]) for index in range(len(batch)) if asked[index]]
        views = iter(stage_views(to_look_up, stages, journal))
        for numbered, found, is_asked in zip(batch, findings, asked, strict=True):
            of_row = next(views) if is_asked else []
            words: list[StageAnswers] = [view.word for view in of_row] if is_asked else [{} for _ in rules]
            said = conclude(numbered.row, found, rules, words, exempt=not is_asked)
            if calibration is not None:
                said = zoned(said, calibration.zones.zone)
            yield JudgedRow(numbered, said, found, tuple(of_row))
