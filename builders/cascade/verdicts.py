"""What a journal remembers of a judging run, and the verdicts that follow from it.

Verdicts are a pure function of the source, the journal and the settings of the run, so a new technique, another way of
combining the same judges or another threshold costs no judge calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.cascade.rules import Findings, Rule, StageAnswers, candidates_of_stage, conclude
from hf_relabel.builders.cascade.zones import zoned
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label, Verdict
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.findings import free_findings
from hf_relabel.builders.sources.subsets import is_exempt

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.cascade.suspects import Rows

ROWS_AT_ONCE = 32
"""Rows that are looked up in the journal together, and so the most that are read ahead."""


@dataclass(frozen=True, slots=True)
class RunStage:
    """One stage of a run, as the journal knows it.

    Attributes:
        judges: whom it asks, each about every candidate that reaches the stage.
        combine: how several become one; None where there is one judge.
    """

    name: str
    rule: Rule
    judges: tuple[JudgeIdentity, ...]
    combine: Combine | None = None

    def combined(self, said: Sequence[StageAnswers]) -> StageAnswers:
        """The stage's word on each candidate, from its judges' answers."""
        if self.combine is None:
            return said[0]
        positions = sorted({position for answers in said for position in answers})
        words = {position: self.combine.combined([answers.get(position) for answers in said]) for position in positions}
        return {position: word for position, word in words.items() if word is not None}

    def describe(self) -> str:
        """The judges as people name them."""
        names = list(dict.fromkeys(judge.describe() for judge in self.judges))
        if self.combine is None:
            return names[0]
        return f"{' + '.join(names)}{self._times() if len(names) == 1 else ''} ({self.combine.rule})"

    def _times(self) -> str:
        orders, samples = (len({judge.settings.get(name) for judge in self.judges}) for name in ("permutation", "seed"))
        return (f" in {orders} orders" if orders > 1 else "") + (f", {samples} times" if samples > 1 else "")

    def judge_names(self) -> list[str]:
        """A name for each judge that no other judge of the stage has."""
        names = [judge.describe() for judge in self.judges]
        return [
            name if names.count(name) == 1 else f"{name} #{names[: index + 1].count(name)}"
            for index, name in enumerate(names)
        ]

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": self.name,
            "escalate": self.rule.escalate,
            "passes": sorted(self.rule.passes),
            "judge": asdict(self.judges[0]),
        }
        if self.rule.accepts:
            values["accepts"] = sorted(self.rule.accepts)
        if self.combine is not None:
            values |= {"judges": [asdict(judge) for judge in self.judges], "combine": self.combine.to_dict()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunStage:
        rule = Rule(
            values["escalate"],
            frozenset(Label(name) for name in values["passes"]),
            frozenset(Label(name) for name in values.get("accepts", ())),
        )
        judges = tuple(JudgeIdentity(**judge) for judge in values.get("judges") or [values["judge"]])
        combine = values.get("combine")
        return cls(values["name"], rule, judges, None if combine is None else Combine.from_dict(combine))


def stages_of_run(run: Mapping[str, Any]) -> list[RunStage]:
    """The stages of a run, as `Journal.last_run` gives it."""
    return [RunStage.from_dict(stage) for stage in run["stages"]]


def run_settings(source: Source, stages: Sequence[RunStage], exempt: frozenset[str]) -> dict[str, Any]:
    """What the journal remembers of a run: enough to work out its verdicts without its judges."""
    return {
        "version": 1,
        "source": {name: value for name, value in source.record().items() if name not in ("skipped", "ignored_fields")},
        "exempt": sorted(exempt),
        "stages": [stage.to_dict() for stage in stages],
    }


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


def judged_rows(
    source: Rows,
    journal: Journal,
    run: Mapping[str, Any] | None = None,
    *,
    calibration: Calibration | None = None,
) -> Iterator[JudgedRow]:
    """Every row of a source with what the journal says of it. Calls no judge.

    Args:
        run: the settings of the run to read, as `Journal.last_run` gives them; None for the one that speaks of this
            source, see hf_relabel.builders.cascade.run_choice.
        calibration: its thresholds decide instead of the judges' labels, see hf_relabel.builders.cascade.zones.

    Raises:
        ConfigError: the calibration is of other judges.
    """
    settings = run if run is not None else _run_of(source, journal)
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


def _run_of(source: Rows, journal: Journal) -> Mapping[str, Any]:
    from hf_relabel.builders.cascade.run_choice import run_of  # which asks for verdicts

    return run_of(source, journal).settings


def verdicts(
    source: Rows,
    journal: Journal,
    run: Mapping[str, Any] | None = None,
    *,
    calibration: Calibration | None = None,
) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """The verdicts on every row of a source, worked out from the journal. Calls no judge.

    Args:
        run, calibration: see `judged_rows`.

    Yields:
        Each row with one verdict per negative, in their order.
    """
    for judged in judged_rows(source, journal, run, calibration=calibration):
        yield judged.numbered, judged.verdicts
