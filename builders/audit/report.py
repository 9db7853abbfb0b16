"""What the answers to an audit say of the judges.

A judge's positives are the candidates it calls better (of the verdict: the false negatives); the truth is what people
say together. Figures are of the whole set, not of the sample, in which hits are over-represented. How many candidates
are relevant among the positives and among the rest is estimated apart, see `hf_relabel.builders.audit.estimation`;
intervals of what depends on both are percentiles of 4,000 pairs of draws. Judges are measured on the candidates that
they were asked about. `python -m tests.benchmarks.bench_coverage` shows how often the intervals hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.estimation import Answered, Number
from hf_relabel.builders.audit.figures import DIGITS, Estimate, Measured, Settled, count, line
from hf_relabel.builders.audit.names import with_one_name_each
from hf_relabel.builders.audit.people import GRADES, agreement, consensus, kappa
from hf_relabel.builders.audit.sample import AuditSample, Item
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label, Outcome
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

VERDICT = "verdict"
_NOISE = 1e-6
"""Of floats, which must not move an end by a digit."""
LEAST_ANSWERS = 20
"""A subset has figures of its own from so many answers on."""
_NAMED = 20
"""Subsets without figures that are named in a text."""
WHAT_COLUMNS_MEAN = """\
called better: by the judges, that is relevant and at least as good as the
ground truth. precision: how many of those people call so too; recall: how many
of those that people call so were called so. kappa: agreement beyond chance, 1
at best, on better against the rest; graded: on better, worse and irrelevant,
where better against irrelevant counts as the larger error."""

_OUTCOME_LABELS = {
    Outcome.FALSE_NEGATIVE: Label.BETTER,
    Outcome.DOUBTFUL: Label.WORSE,
    Outcome.NEGATIVE: Label.IRRELEVANT,
}


@dataclass(frozen=True, slots=True, repr=False)
class AuditReport(Shown):
    """See the module's text.

    Attributes:
        truth: by item, whether people find it relevant and at least as good as the ground truth.
        weights: by item of `truth`, how many candidates its answer stands for.
        prevalence: share of the candidates that are relevant.
        few_answers: subsets without figures of their own, and how many answers each has: fewer than `LEAST_ANSWERS`.
        undecided: items on which people are tied; intervals hold whichever way they would be decided.
        unanswered_strata: strata without an answer, and `unanswered_candidates` in them.
        calibrated: whether the verdicts follow the thresholds of an earlier audit.
    """

    verdict: Measured
    judges: tuple[Measured, ...]
    subsets: tuple[Measured, ...]
    few_answers: Mapping[str, int]
    settled: tuple[Settled, ...]
    prevalence: Estimate
    people: Mapping[str, Any]
    truth: Mapping[str, bool]
    weights: Mapping[str, float]
    drawn: int
    undecided: int
    unanswered_strata: int
    unanswered_candidates: int
    seed: int
    calibrated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. Items are named by their ids."""
        return {
            "version": 1,
            "verdict": self.verdict.to_dict(),
            "judges": [judge.to_dict() for judge in self.judges],
            "subsets": [subset.to_dict() for subset in self.subsets],
            "few_answers": dict(self.few_answers),
            "settled": [settled.to_dict() for settled in self.settled],
            "prevalence": self.prevalence.to_dict(),
            "people": dict(self.people),
            "drawn": self.drawn,
            "undecided": self.undecided,
            "unanswered_strata": self.unanswered_strata,
            "unanswered_candidates": self.unanswered_candidates,
            "seed": self.seed,
            "calibrated": self.calibrated,
        }

    def to_text(self) -> str:
        """Plain tables."""
        header = ["", "candidates", "called better", "answers", "precision", "recall", "F1", "kappa", "graded"]
        lines = [line(measured) for measured in (self.verdict, *self.judges)]
        parts = [
            f"{self.verdict.answers} of {counted(self.drawn, 'candidate')} answered."
            f" Share relevant: {self.prevalence}.",
            text_table(lines, header, floatfmt=".3f"),
            WHAT_COLUMNS_MEAN,
        ]
        if self.subsets:
            parts.append(text_table([line(each) for each in self.subsets], ["subset", *header[1:]], floatfmt=".3f"))
        if self.few_answers:
            parts.append(_few(self.few_answers))
        if len(self.settled) > 1:
            rows = [
                [each.name, each.candidates, each.false_negatives, str(each.precision), count(each.missed)]
                for each in self.settled
            ]
            columns = ["last word", "candidates", "false negatives", "precision of them", "missed among the rest"]
            parts.append(text_table(rows, columns))
        if self.people["pairs"]:
            pairs = [
                [" and ".join(pair["people"]), pair["both"], pair["same"], pair["graded"], pair["binary"]]
                for pair in self.people["pairs"]
            ]
            parts.append(text_table(pairs, ["people", "both answered", "same", "graded", "binary"], floatfmt=".3f"))
            fleiss = self.people["fleiss"]
            kappas = ", ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in fleiss.items())
            parts.append(
                f"Fleiss' kappa ({self.people['answered_by_all']} items answered by all): {kappas}."
                f" They differ on {self.people['disagreements']}; {self.undecided} are undecided."
            )
        if self.unanswered_strata:
            parts.append(
                f"{counted(self.unanswered_strata, 'stratum', 'strata')} with"
                f" {counted(self.unanswered_candidates, 'candidate')} without an answer;"
                " they are taken to be as others of their verdict."
            )
        return "\n\n".join(parts)


@needs("audit", "An audit")
@expects(sample=AuditSample, answers=Iterable)
def audit_report(sample: AuditSample, answers: Sequence[Answer], *, seed: int = 0) -> AuditReport:
    """Report what the answers say.

    Example:
            sample = draw_audit("train.jsonl", "journal.sqlite", size=200)
            report = audit_report(sample, read_answers(Path("anna.csv"), sample))
            print(report.to_text())

    Args:
        answers: of people, or `answers_from_truth`.
        seed: of the draws that the intervals are taken from.

    Raises:
        ConfigError: nobody answered, or a library is missing.
    """
    answers = with_one_name_each(answers)
    labels, undecided = consensus(answers)
    if not labels and not undecided:
        raise ConfigError("There is no answer yet: the column `answer` is empty, or nothing was submitted.")
    return Reporting(sample, labels, undecided, seed).report(agreement(answers))


class Reporting:
    """Works out the figures. `audit_report` puts them together."""

    def __init__(self, sample: AuditSample, labels: Mapping[str, Label], undecided: Sequence[str], seed: int) -> None:
        self.sample, self.labels, self.undecided = sample, labels, undecided
        self.answered = Answered(sample, labels, undecided, seed)
        self.weights = self.answered.weights()
        self.everything = self._mask([True] * len(sample.cells))
        self.verdicts = [_OUTCOME_LABELS[sample.strata[cell.stratum].outcome] for cell in sample.cells]

    def report(self, people: Mapping[str, Any]) -> AuditReport:
        strata = self.sample.strata
        silent = [stratum for stratum, is_silent in zip(strata, self.answered.silent(), strict=True) if is_silent]
        labelled = [item for item in self.sample.items if item.id in self.labels]
        subsets = list(self._subsets())
        numbers = {name: int(self.answered.answers[inside].sum()) for name, inside in subsets}
        few = {name: number for name, number in numbers.items() if number < LEAST_ANSWERS}
        return AuditReport(
            verdict=self.verdict(),
            judges=tuple(self._judges()),
            subsets=tuple(self._measured(name, inside, self.verdicts) for name, inside in subsets if name not in few),
            few_answers=few,
            settled=tuple(self._settled()),
            prevalence=self.prevalence(),
            people=people,
            truth={item.id: self.labels[item.id] is Label.BETTER for item in labelled},
            weights={item.id: self._weight(item) for item in labelled},
            drawn=len(self.sample.items),
            undecided=len(self.undecided),
            unanswered_strata=len(silent),
            unanswered_candidates=sum(stratum.size for stratum in silent),
            seed=self.sample.seed,
            calibrated=self.sample.calibrated,
        )

    def verdict(self) -> Measured:
        return self._measured(VERDICT, self.everything, self.verdicts)

    def prevalence(self) -> Estimate:
        """The share of all candidates that is relevant."""
        hits, missed = map(self.answered.number, self._parted(self.everything, self.verdicts))
        size = hits.size + missed.size
        point, low, high = hits.point + missed.point, hits.low + missed.low, hits.high + missed.high
        return _estimate(point / size, low / size, high / size)

    def _mask(self, values: Sequence[bool]) -> Mask:
        import numpy as np

        return np.array(values, dtype=bool)

    def _judges(self) -> Iterator[Measured]:
        for name in self.sample.judges:
            said = [cell.labels.get(name) for cell in self.sample.cells]
            labels = [None if label is None else Label(label) for label in said]
            yield self._measured(name, self._mask([label is not None for label in labels]), labels)

    def _subsets(self) -> Iterator[tuple[str, Mask]]:
        """The cells of each, where there are several."""
        names = sorted({cell.subset for cell in self.sample.cells})
        for name in names if len(names) > 1 else []:
            yield name, self._mask([cell.subset == name for cell in self.sample.cells])

    def _settled(self) -> Iterator[Settled]:
        stages = [self.sample.strata[cell.stratum].settled_by for cell in self.sample.cells]
        for name in dict.fromkeys(stages):
            found, rest = self._parted(self._mask([stage == name for stage in stages]), self.verdicts)
            hits, missed = self.answered.number(found), self.answered.number(rest)
            yield Settled(
                name=name,
                candidates=hits.size + missed.size,
                false_negatives=hits.size,
                precision=_share(hits),
                missed=_estimate(missed.point, missed.low, missed.high),
            )

    def _parted(self, inside: Mask, labels: Sequence[Label | None]) -> tuple[Mask, Mask]:
        """The cells that are called better, and the others."""
        better = self._mask([label is Label.BETTER for label in labels])
        return inside & better, inside & ~better

    def _measured(self, name: str, inside: Mask, labels: Sequence[Label | None]) -> Measured:
        hits, missed = map(self.answered.number, self._parted(inside, labels))
        said, candidates = hits.size, hits.size + missed.size
        # Precision, recall, F1 and kappa rise with the hits and fall with what was missed.
        point, low, high = (
            _figures(one, other, said, candidates)
            for one, other in ((hits.point, missed.point), (hits.low, missed.high), (hits.high, missed.low))
        )
        estimates = {key: _estimate(float(point[key]), low[key], high[key]) for key in ("recall", "f1", "kappa")}
        return Measured(
            name=name,
            candidates=candidates,
            positives=said,
            answers=int(self.answered.answers[inside].sum()),
            precision=_share(hits),
            # These fall with the hits.
            false_alarms=_estimate(float(point["false_alarms"]), high["false_alarms"], low["false_alarms"]),
            kappa_graded=self._graded(inside, labels),
            confusion=self._confusion(inside, labels),
            **estimates,
        )

    def _graded(self, inside: Mask, labels: Sequence[Label | None]) -> float | None:
        """Of the same estimated table as kappa."""
        pairs, weights = [], []
        for said, label in enumerate(GRADES):
            here = inside & self._mask([each is label for each in labels])
            for real, number in enumerate(self.answered.grades(here)):
                pairs.append((said, real))
                weights.append(float(number))
        found = kappa(pairs, weights=weights, graded=True)
        return None if found is None else round(found, DIGITS)

    def _weight(self, item: Item) -> float:
        return float(self.weights[self.sample.cells[item.cell].stratum])

    def _confusion(self, inside: Mask, labels: Sequence[Label | None]) -> dict[str, dict[str, float]]:
        table = {}
        for label in reversed(GRADES):
            here = inside & self._mask([each is label for each in labels])
            relevant, size = self.answered.expected(here), float(self.answered.sizes[here].sum())
            table[str(label)] = {"relevant": round(relevant, 2), "other": round(size - relevant, 2)}
        return table


def _few(answers: Mapping[str, int]) -> str:
    named = [f"{name} ({number})" for name, number in list(answers.items())[:_NAMED]]
    more = f" and {len(answers) - _NAMED:,} more" if len(answers) > _NAMED else ""
    without = (
        f"{counted(len(answers), 'subset')} without figures, with fewer than {LEAST_ANSWERS} answers (in brackets)"
    )
    return fill(f"{without}: {', '.join(named)}{more}.", 80)


def _figures(hits: Any, missed: Any, said: float, candidates: float) -> dict[str, Any]:
    """Recall, F1, kappa and false alarms of one or many tables: `hits` of `said` are relevant, `missed` of the rest."""
    import numpy as np

    hits, missed = np.asarray(hits, dtype=float), np.asarray(missed, dtype=float)
    real = hits + missed
    agreed = (hits + candidates - said - missed) / candidates
    chance = (said * real + (candidates - said) * (candidates - real)) / candidates**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "recall": np.where(real > 0, hits / real, 0.0),
            "f1": np.where(said + real > 0, 2 * hits / (said + real), 0.0),
            "false_alarms": np.where(candidates > real, (said - hits) / (candidates - real), 0.0),
            "kappa": np.where(chance < 1, (agreed - chance) / (1 - chance), 0.0),
        }


def _share(number: Number) -> Estimate:
    if not number.size:
        return Estimate(None, None, None)
    return _estimate(number.point / number.size, number.low / number.size, number.high / number.size)


def _estimate(point: float, low: Values, high: Values) -> Estimate:
    """From draws for the lower end and draws for the upper one. Ends are rounded outwards."""
    import numpy as np

    lower = min(float(np.percentile(low, 2.5)), point)
    upper = max(float(np.percentile(high, 97.5)), point)
    scale = 10**DIGITS
    return Estimate(
        round(point, DIGITS),
        math.floor(lower * scale + _NOISE) / scale,
        math.ceil(upper * scale - _NOISE) / scale,
    )
