"""A pilot: some rows of which every stage judges all candidates, whatever the stages before it say, and their labels.

It is a run like others, whose stages hand on everything. A journal may hold others too: a pilot is known by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from hf_relabel.builders.cascade.judged_in_run import JudgedRow, StageView
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.run_stages import RunStage, stages_of_run
from hf_relabel.builders.cascade.verdicts import judged_rows
from hf_relabel.builders.errors import ConfigError, JournalError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.messages.counted import counted, percent
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.planning.counting import StageToPlan, asks_of, first_candidates_of
from hf_relabel.builders.planning.estimating import CHARACTERS_PER_TOKEN, COMPLETION_TOKENS_PER_CANDIDATE
from hf_relabel.builders.planning.policy import Pilot, PilotStage
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.samples import RowsDrawn
from hf_relabel.builders.sources.subsets import exempt_of

if TYPE_CHECKING:
    from hf_relabel.builders.audit.sample import AuditSample

EVERYTHING = Rule("candidate", frozenset({Label.BETTER, Label.WORSE, Label.IRRELEVANT}))
"""How the stages of a pilot hand over."""
ENOUGH = 0.95
"""Share of the candidates that every stage must have answered for."""
_LEVELS = {Label.IRRELEVANT: 0.0, Label.WORSE: 0.5, Label.BETTER: 1.0}

Labels: TypeAlias = Callable[[Row, Sequence[int]], Mapping[int, tuple[bool, float]]]
"""Of some candidates of a row, by position, whether each is a false negative and for how many it stands; those that
nobody labelled are left out."""


def truth_labels(file: str) -> Labels:
    """Those of a truth file. Rows that it lacks have none."""
    from hf_relabel.builders.judges.offline.truth import TruthJudge

    judge = TruthJudge(file)

    def labels(row: Row, positions: Sequence[int]) -> dict[int, tuple[bool, float]]:
        (said,) = judge.judge([(row, positions)])
        return {
            position: (judgement.label is Label.BETTER, 1.0)
            for position, judgement in said.items()
            if judgement.label.is_answer
        }

    return labels


def audit_labels(sample: AuditSample, files: Sequence[str]) -> Labels:
    """Those of people who answered a sample that was drawn from a pilot.

    Raises:
        ConfigError, BadRow: a file holds no answers to it.
    """
    from hf_relabel.builders.audit.answers import read_all_answers
    from hf_relabel.builders.audit.report import audit_report

    report = audit_report(sample, read_all_answers(files, sample))
    told = {
        (item.query_id, item.query, item.position): (report.truth[item.id], report.weights[item.id])
        for item in sample.items
        if item.id in report.truth
    }

    def labels(row: Row, positions: Sequence[int]) -> dict[int, tuple[bool, float]]:
        found = {position: told.get((row.query_id, row.query, position)) for position in positions}
        return {position: label for position, label in found.items() if label is not None}

    return labels


def pilot_run(journal: Journal, names: Sequence[str]) -> dict[str, Any]:
    """The settings of the newest pilot in a journal.

    Args:
        names: of the stages that it should be of.

    Raises:
        JournalError: it holds none.
        ConfigError: it is of other stages.
    """
    for run in journal.runs():
        stages = stages_of_run(run.settings)
        if any(stage.rule != EVERYTHING for stage in stages):
            continue
        found = [stage.name for stage in stages]
        if found != list(names):
            raise ConfigError(
                f"The pilot in {journal.path} is of the stages {', '.join(found)}, and these are {', '.join(names)}."
                " Give the stages that judged it."
            )
        return run.settings
    raise JournalError(
        f"{journal.path} holds no pilot, in which every stage judges everything:"
        f" `{program()} plan … --probe 400 --every-stage` makes one."
    )


@dataclass(frozen=True, slots=True)
class PilotOf:
    """A pilot, and how large the source is of which it is one."""

    pilot: Pilot
    rows: int
    candidates: int


def read_pilot(
    source: Source, journal: Journal, run: Mapping[str, Any], stages: Sequence[Sequence[StageToPlan]], labels: Labels
) -> PilotOf:
    """What a journal says of a pilot, as numbers. Reads the source once; holds the rows of the pilot.

    Args:
        run: its settings, see `pilot_run`.
        stages: for each stage its judges.

    Raises:
        ConfigError: many candidates of it have no answer, or none of it has a label.
    """
    exempt = exempt_of(judge.judge for stage in stages for judge in stage)
    sample = run["source"].get("sample") or {}
    drawn = RowsDrawn(int(sample.get("total") or 0), int(sample.get("seed") or 0))
    rows = candidates = 0
    for numbered in source.rows():
        rows += 1
        candidates += len(first_candidates_of(numbered.row, exempt))
        drawn.add(numbered)
    held = _Drawn(drawn.in_order(), source)
    found = _Numbers(stages, stages_of_run(run))
    for judged in judged_rows(held, journal, run):
        found.add(judged, labels)
    return PilotOf(found.pilot(journal), rows, candidates)


@dataclass(frozen=True, slots=True)
class _Drawn:
    kept: tuple[NumberedRow, ...]
    source: Source

    def rows(self) -> Iterator[NumberedRow]:
        return iter(self.kept)

    def record(self) -> dict[str, Any]:
        return self.source.record()


@dataclass(slots=True)
class _Numbers:
    """The rows of a pilot, one after the other."""

    stages: Sequence[Sequence[StageToPlan]]
    run_stages: Sequence[RunStage]
    rows: list[int] = field(default_factory=list)
    levels: list[list[float]] = field(default_factory=list)
    truth: list[bool] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    costs: list[list[tuple[float, float]]] = field(default_factory=list)
    per_request: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.per_request = [max(map(_per_request, stage)) for stage in self.stages]

    def add(self, judged: JudgedRow, labels: Labels) -> None:
        row, number = judged.numbered.row, len(self.costs)
        positions = sorted(judged.views[0].keys[0]) if judged.views else []
        told = labels(row, positions) if positions else {}
        for position in positions:
            self.rows.append(number)
            words = [view.word.get(position) for view in judged.views]
            self.levels.append(
                [_level(word, is_scored(stage)) for word, stage in zip(words, self.run_stages, strict=True)]
            )
            relevant, weight = told.get(position, (False, 0.0))
            self.truth.append(relevant)
            self.weights.append(weight)
        of_stages = [_cost(*each, row, positions) for each in zip(self.stages, judged.views, strict=False)]
        self.costs.append(of_stages or [(0.0, 0.0)] * len(self.stages))  # an exempt row takes nothing

    def pilot(self, journal: Journal) -> Pilot:
        import numpy as np

        levels = np.array(self.levels, dtype=np.float64).reshape(len(self.rows), len(self.stages))
        answered = 1 - np.isnan(levels).any(axis=1).mean() if len(levels) else 0.0
        if answered < ENOUGH:
            raise ConfigError(
                f"Every stage answered for {percent(float(answered))} of the candidates of the pilot in {journal.path},"
                f" of {counted(len(self.costs), 'row')}. Make it again with the same command, which asks for the rest."
            )
        if not any(self.weights):
            raise ConfigError("No candidate of the pilot has a label. Are the labels those of this source?")
        costs = np.array(self.costs, dtype=np.float64)
        stages = tuple(
            PilotStage(stage.name, is_scored(stage), per_request)
            for stage, per_request in zip(self.run_stages, self.per_request, strict=True)
        )
        truth, weights = np.array(self.truth, dtype=bool), np.array(self.weights, dtype=np.float64)
        of = np.array(self.rows, dtype=np.int64)
        return Pilot(stages, len(costs), of, levels, truth, weights, costs[:, :, 0], costs[:, :, 1])


def is_scored(stage: RunStage) -> bool:
    """Whether a stage's labels follow from thresholds on a score, which can be set otherwise."""
    return stage.combine is None and {"better", "worse"} <= stage.judges[0].settings.keys()


def _level(word: Judgement | None, scored: bool) -> float:
    if word is None or not word.label.is_answer:
        return float("nan")
    return word.score if scored and word.score is not None else _LEVELS[word.label]


def _per_request(stage: StageToPlan) -> int:
    return int(getattr(stage.judge, "candidates_per_prompt", 1))


def _cost(judges: Sequence[StageToPlan], view: StageView, row: Row, positions: Sequence[int]) -> tuple[float, float]:
    """What a stage takes of a row: US dollars of a request, and of each candidate in it."""
    parts = [_cost_of(judge, row, said, positions) for judge, said in zip(judges, view.said, strict=True)]
    return sum(request for request, _ in parts), sum(candidate for _, candidate in parts)


def _cost_of(
    stage: StageToPlan, row: Row, said: Mapping[int, Judgement], positions: Sequence[int]
) -> tuple[float, float]:
    """The prompt about one candidate, and that about all, say how long a prompt is without any."""
    asks = asks_of(stage, row, positions)
    if not asks or not (stage.price_prompt or stage.price_completion):
        return 0.0, 0.0
    whole, requests = sum(ask.request.characters for ask in asks), len(asks)
    alone = each = whole / requests
    if requests < len(positions):
        alone = sum(ask.request.characters for ask in asks_of(stage, row, positions[:1]))
        each = min(max((whole - requests * alone) / (len(positions) - requests), 0.0), alone)
    told = [judgement for judgement in said.values() if judgement.prompt_tokens is not None]
    tokens = sum(judgement.prompt_tokens or 0 for judgement in told)
    per_character = tokens * len(positions) / len(told) / whole if tokens else 1 / CHARACTERS_PER_TOKEN
    price = stage.price_prompt / 1e6 * per_character
    reply = 0.0 if getattr(stage.judge, "reranks", False) else _reply_tokens(said) * stage.price_completion / 1e6
    return (alone - each) * price, each * price + reply


def _reply_tokens(said: Mapping[int, Judgement]) -> float:
    """Of a reply, for each candidate in it."""
    told = [judgement.completion_tokens for judgement in said.values() if judgement.completion_tokens is not None]
    return sum(told) / len(told) if any(told) else COMPLETION_TOKENS_PER_CANDIDATE
