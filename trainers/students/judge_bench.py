"""How well judges tell false negatives from true ones, where the truth is known.

Per candidate: AUC, average precision, the greatest recall at a precision of .5, .8 and .9, all of the judge's score
(0, .5 and 1 for its labels where it gives none); precision, recall and Cohen's kappa of its label `better`. Per row, as
RLHN compares rerankers (arXiv 2505.16967): the candidates are ranked by score, the row's known false negatives are
relevant, and mAP@10 and P@L(GT), the precision at as many as there are, are means over the rows that have any; ties
are broken by docid, as trec_eval does.

Intervals are percentiles of a bootstrap over rows, since the candidates of a row are judged together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.combining import level
from hf_relabel.builders.cascade.judged_in_run import JudgedRow
from hf_relabel.builders.cascade.report import member_names
from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.cascade.zones import signal
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

VERDICT = "verdict"
"""The name of the cascade's final word among the judges."""

PRECISIONS = (0.5, 0.8, 0.9)
SCORED = ("auc", "average precision", *(f"recall at {precision:.1f}" for precision in PRECISIONS))
LABELLED = ("precision", "recall", "f1", "kappa")
RANKED = ("map@10", "p@L(GT)")
RESAMPLES = 200
WHAT_FIGURES_MEAN = """\
All are 1 at best; in brackets: 95 % intervals over rows.
auc: how often a false negative is scored above a true one (0.5: by chance).
average precision: precision, averaged over all thresholds of the score.
recall at 0.9: how many are found where 9 of 10 that are flagged are right.
map@10, p@L(GT): of each row's candidates by score, how far up its false
negatives are: among the first 10, and among as many as there are.
precision, recall, f1, kappa: of the label better, as it stands; kappa is
agreement beyond chance."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval; None where it is not defined (no false negatives, one label only)."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{interval}"


@dataclass(frozen=True, slots=True, repr=False)
class JudgeFigures(Shown):
    """What one judge is worth.

    Attributes:
        candidates: how many it answered for, of which `false_negatives` are known to be relevant.
        unanswered: candidates it was asked about without an answer; they count nowhere else.
        tokens: prompt and completion tokens of its answers.
    """

    judge: str
    rows: int
    candidates: int
    false_negatives: int
    unanswered: int
    tokens: int
    figures: Mapping[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        return figures_table([self])


@dataclass(slots=True)
class Answers:
    """The answers of one judge, flat: one entry of each list per candidate.

    Attributes:
        rows, positions: number of the row, and 0-based place among its negatives.
        better: whether it calls the candidate better.
        truth: whether the candidate is a known false negative.
        unanswered: candidates it was asked about without an answer.
    """

    rows: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    docids: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    better: list[bool] = field(default_factory=list)
    truth: list[bool] = field(default_factory=list)
    unanswered: int = 0
    tokens: float = 0.0

    def add(self, row: int, position: int, docid: str, judgement: Judgement | None, is_relevant: bool) -> None:
        if judgement is None or not judgement.label.is_answer:
            self.unanswered += 1
            return
        self.append(row, position, docid, level(judgement), judgement.label is Label.BETTER, is_relevant)
        self.tokens += (judgement.prompt_tokens or 0) + (judgement.completion_tokens or 0)

    def append(self, row: int, position: int, docid: str, score: float, better: bool, is_relevant: bool) -> None:
        self.rows.append(row)
        self.positions.append(position)
        self.docids.append(docid)
        self.scores.append(score)
        self.better.append(better)
        self.truth.append(is_relevant)


@needs("audit", "Measuring judges")
@expects(judged=Iterable, stages=Sequence, truth=Mapping)
def judge_figures(
    judged: Iterable[JudgedRow],
    stages: Sequence[RunStage],
    truth: Mapping[str, frozenset[str]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[JudgeFigures]:
    """Measure every judge of a run, the stages that combine several, and the verdict of a cascade.

    Example:
            from hf_relabel.builders.cascade.run_stages import stages_of_run

            with Journal("journal.sqlite", write=False) as journal:
                stages = stages_of_run(journal.last_run())
                figures = judge_figures(judged_rows("train.jsonl", journal), stages, {"q1": frozenset({"d2"})})

    Args:
        judged: the rows as `hf_relabel.builders.cascade.verdicts.judged_rows` gives them; those that the truth
            lacks are left out.
        stages: of the same run.
        truth: docids of the known false negatives by query id.
        resamples: of the bootstrap; 0 gives no intervals.

    Raises:
        ConfigError: the truth has none of the rows, or a library is missing.
    """
    answers = answers_of(judged, stages, truth)
    return [figures_of(name, found, resamples=resamples, seed=seed) for name, found in answers.items()]


def answers_of(
    judged: Iterable[JudgedRow], stages: Sequence[RunStage], truth: Mapping[str, frozenset[str]]
) -> dict[str, Answers]:
    """The answers of every judge of a run, by its name. See `judge_figures` for arguments and errors."""
    names = member_names(stages)
    answers: dict[str, Answers] = {}
    for judged_row in judged:
        row = judged_row.numbered.row
        if row.query_id in truth and judged_row.views:
            _add_row(answers, judged_row, stages, names, truth[row.query_id])
    if not answers:
        raise ConfigError("No row that was judged is in the truth file: their query ids have nothing in common.")
    return answers


def _add_row(
    answers: dict[str, Answers],
    judged: JudgedRow,
    stages: Sequence[RunStage],
    names: Sequence[Sequence[str]],
    relevant: frozenset[str],
) -> None:
    row, number = judged.numbered.row, judged.numbered.number
    for stage, members, view in zip(stages, names, judged.views, strict=True):
        said = dict(zip(members, view.said, strict=True))
        if stage.combine is not None:
            said[stage.name] = view.word
        for name, judgements in said.items():
            into = answers.setdefault(name, Answers())
            for position in view.keys[0]:
                docid = row.negative_passages[position].docid
                into.add(number, position, docid, judgements.get(position), docid in relevant)
    if len(stages) > 1:
        into = answers.setdefault(VERDICT, Answers())
        for verdict in judged.verdicts:
            value = signal(verdict)
            if value is not None:
                is_found = verdict.outcome is Outcome.FALSE_NEGATIVE
                into.append(number, verdict.position, verdict.docid, value, is_found, verdict.docid in relevant)


def figures_of(name: str, answers: Answers, *, resamples: int = RESAMPLES, seed: int = 0) -> JudgeFigures:
    """Measure one judge. See `judge_figures`."""
    import numpy as np

    rows, of_row = np.unique(np.array(answers.rows, dtype=np.int64), return_inverse=True)
    scores = np.array(answers.scores, dtype=np.float64)
    better, truth = np.array(answers.better, dtype=bool), np.array(answers.truth, dtype=bool)

    def measured(times: Values) -> dict[str, float | None]:
        weights = times[of_row]
        kept = weights > 0
        return _measured(scores[kept], better[kept], truth[kept], weights[kept])

    found = measured(np.ones(len(rows)))
    chance = np.random.default_rng(seed)
    draws = [chance.multinomial(len(rows), np.full(len(rows), 1 / len(rows))).astype(float) for _ in range(resamples)]
    resampled = [measured(times) for times in draws]
    figures = {key: with_interval(value, [each[key] for each in resampled]) for key, value in found.items()}
    return JudgeFigures(
        judge=name,
        rows=len(rows),
        candidates=len(scores),
        false_negatives=int(truth.sum()),
        unanswered=answers.unanswered,
        tokens=round(answers.tokens),
        figures=figures | _ranked(answers, rows, draws),
    )


def with_interval(value: float | None, resampled: Sequence[float | None]) -> Figure:
    """A value with the interval of what it was in resamples."""
    import numpy as np

    known = [each for each in resampled if each is not None]
    if value is None or not known:
        return Figure(value, None, None)
    low, high = np.percentile(known, [2.5, 97.5])
    return Figure(value, float(low), float(high))


def _measured(
    scores: Values, better: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], weights: Values
) -> dict[str, float | None]:
    from sklearn import metrics

    if not len(truth) or truth.all() or not truth.any():
        return dict.fromkeys((*SCORED, *LABELLED))
    precision, recall, _ = metrics.precision_recall_curve(truth, scores, sample_weight=weights)
    values: dict[str, float | None] = {
        "auc": float(metrics.roc_auc_score(truth, scores, sample_weight=weights)),
        "average precision": float(-(recall[1:] - recall[:-1]) @ precision[:-1]),
    }
    for least in PRECISIONS:
        # The curve ends with an artificial point of precision 1 and recall 0, which no threshold gives.
        values[f"recall at {least:.1f}"] = float(max(recall[:-1][precision[:-1] >= least], default=0.0))
    hits, said, real = ((weights * which).sum() for which in (better & truth, better, truth))
    right = hits / said if said else None
    values |= {
        "precision": None if right is None else float(right),
        "recall": float(hits / real),
        "f1": float(2 * hits / (said + real)),
        "kappa": float(metrics.cohen_kappa_score(truth, better, sample_weight=weights)) if said else 0.0,
    }
    return values


def _ranked(answers: Answers, rows: npt.NDArray[np.int64], draws: Sequence[Values]) -> dict[str, Figure]:
    """mAP@10 and P@L(GT), means over the rows with false negatives."""
    import numpy as np

    from hf_relabel.trainers.evaluation.metrics.ranking import ranking_metrics

    ranking: dict[str, dict[str, float]] = {}
    grades: dict[str, dict[str, int]] = {}
    for row, docid, score, is_relevant in zip(answers.rows, answers.docids, answers.scores, answers.truth, strict=True):
        ranking.setdefault(str(row), {})[docid] = score
        if is_relevant:
            grades.setdefault(str(row), {})[docid] = 1
    if not grades:
        return dict.fromkeys(RANKED, Figure(None, None, None))
    measured = ranking_metrics(ranking, grades, ["map@10", "rprec"])
    counted = np.array([str(row) in measured for row in rows])
    found = {}
    for name, metric in zip(RANKED, ("map@10", "rprec"), strict=True):
        values = np.array([measured[str(row)][metric] if str(row) in measured else 0.0 for row in rows])
        means = [float(times @ values / (times @ counted)) if (times @ counted) else None for times in draws]
        found[name] = with_interval(float(values.sum() / counted.sum()), means)
    return found


def figures_table(judges: Sequence[JudgeFigures], *, names: Callable[[str], str] = str) -> str:
    """A table with a line per judge, for people."""
    columns = [*SCORED, *RANKED, *LABELLED]
    lines = [
        [names(judge.judge), judge.candidates, judge.false_negatives, *(str(judge.figures[key]) for key in columns)]
        for judge in judges
    ]
    header = ["judge", "candidates", "false negatives", *columns]
    turned = list(zip(*[header, *lines], strict=True))
    table = text_table(turned[1:], [str(name) for name in turned[0]], disable_numparse=True)
    return f"{table}\n\n{WHAT_FIGURES_MEAN}"
