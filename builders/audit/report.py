"""What the answers to an audit say of the judges.

A judge's positives are the candidates it calls better (of the verdict: the false negatives); the truth is what people
say together. Figures are of the whole set, not of the sample, in which hits are over-represented: each stratum counts
with its size. In a stratum of N candidates of which n were answered and k found relevant, the number of relevant ones
is drawn from its posterior: the share from Beta(k + 1/2, n - k + 1/2) (Jeffreys' prior), the candidates that nobody
looked at from a binomial. Intervals are the 2.5th and 97.5th percentile of 4,000 such draws, point estimates weigh each
answer by what it stands for (Horvitz and Thompson). Strata that nobody answered take the answers to all strata of their
verdict. Judges are measured on the candidates that they were asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.figures import DIGITS, Estimate, Measured, Settled, count, line
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

VERDICT = "verdict"
DRAWS = 4_000
LEAST_ANSWERS = 20
"""A subset has figures of its own from so many answers on."""
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
        prevalence: share of the candidates that are.
        undecided: items on which people are tied.
        unanswered_strata: strata without an answer, and `unanswered_candidates` in them.
        calibrated: whether the verdicts follow the thresholds of an earlier audit.
    """

    verdict: Measured
    judges: tuple[Measured, ...]
    subsets: tuple[Measured, ...]
    settled: tuple[Settled, ...]
    prevalence: Estimate
    people: Mapping[str, Any]
    truth: Mapping[str, bool]
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
    labels, undecided = consensus(answers)
    if not labels:
        raise ConfigError("There is no answer yet: the column `answer` is empty, or nothing was submitted.")
    return _Reporting(sample, labels, seed).report(agreement(answers), len(undecided))


class _Reporting:
    def __init__(self, sample: AuditSample, labels: Mapping[str, Label], seed: int) -> None:
        import numpy as np

        self.sample, self.labels = sample, labels
        self.answered = [item for item in sample.items if item.id in labels]
        count = len(sample.strata)
        self.sizes = np.array([stratum.size for stratum in sample.strata])
        self.asked, self.relevant = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for item in self.answered:
            self.asked[item.stratum] += 1
            self.relevant[item.stratum] += labels[item.id] is Label.BETTER
        self.shares, self.draws = self._posterior(np.random.default_rng(seed))

    def _posterior(self, chance: np.random.Generator) -> tuple[Values, Values]:
        """The share of relevant candidates in each stratum, and draws (draws × strata) of their number."""
        import numpy as np

        known, asked = self.relevant.astype(float), self.asked.astype(float)
        for number, stratum in enumerate(self.sample.strata):
            if not self.asked[number]:
                alike = [other.outcome is stratum.outcome for other in self.sample.strata]
                known[number], asked[number] = self.relevant[alike].sum(), self.asked[alike].sum()
        shares = np.divide(known, asked, out=np.full(len(known), 0.5), where=asked > 0)
        drawn = chance.beta(known + 0.5, asked - known + 0.5, size=(DRAWS, len(known)))
        found = self.relevant + chance.binomial(self.sizes - self.asked, drawn)
        return shares, found.astype(np.float64)

    def report(self, people: Mapping[str, Any], undecided: int) -> AuditReport:
        strata = self.sample.strata
        everything = [True] * len(strata)
        verdicts = [_OUTCOME_LABELS[stratum.outcome] for stratum in strata]
        silent = [stratum for stratum, asked in zip(strata, self.asked, strict=True) if not asked]
        return AuditReport(
            verdict=self._measured(VERDICT, everything, verdicts),
            judges=tuple(self._judges()),
            subsets=tuple(self._subsets(verdicts)),
            settled=tuple(self._settled(verdicts)),
            prevalence=self._ratio(everything, everything),
            people=people,
            truth={item.id: self.labels[item.id] is Label.BETTER for item in self.answered},
            drawn=len(self.sample.items),
            undecided=undecided,
            unanswered_strata=len(silent),
            unanswered_candidates=sum(stratum.size for stratum in silent),
            seed=self.sample.seed,
            calibrated=self.sample.calibrated,
        )

    def _judges(self) -> Iterator[Measured]:
        for name in self.sample.judges:
            said = [stratum.labels.get(name) for stratum in self.sample.strata]
            labels = [None if label is None else Label(label) for label in said]
            yield self._measured(name, [label is not None for label in labels], labels)

    def _subsets(self, verdicts: Sequence[Label]) -> Iterator[Measured]:
        names = sorted({stratum.subset for stratum in self.sample.strata})
        for name in names if len(names) > 1 else []:
            inside = [stratum.subset == name for stratum in self.sample.strata]
            if self.asked[inside].sum() >= LEAST_ANSWERS:
                yield self._measured(name, inside, verdicts)

    def _settled(self, verdicts: Sequence[Label]) -> Iterator[Settled]:
        for name in dict.fromkeys(stratum.settled_by for stratum in self.sample.strata):
            inside = [stratum.settled_by == name for stratum in self.sample.strata]
            found = [here and label is Label.BETTER for here, label in zip(inside, verdicts, strict=True)]
            rest = [here and label is not Label.BETTER for here, label in zip(inside, verdicts, strict=True)]
            missed = self.draws[:, rest].sum(axis=1)
            yield Settled(
                name=name,
                candidates=int(self.sizes[inside].sum()),
                false_negatives=int(self.sizes[found].sum()),
                precision=self._ratio(found, found),
                missed=_estimate(float((self.sizes * self.shares)[rest].sum()), missed),
            )

    def _ratio(self, relevant_of: Sequence[bool], among: Sequence[bool]) -> Estimate:
        """Share of relevant candidates in the strata."""
        size = int(self.sizes[list(among)].sum())
        if not size:
            return Estimate(None, None, None)
        point = float((self.sizes * self.shares)[list(relevant_of)].sum() / size)
        return _estimate(point, self.draws[:, list(relevant_of)].sum(axis=1) / size)

    def _measured(self, name: str, inside: Sequence[bool], labels: Sequence[Label | None]) -> Measured:
        found = [here and label is Label.BETTER for here, label in zip(inside, labels, strict=True)]
        rest = [here and label is not Label.BETTER for here, label in zip(inside, labels, strict=True)]
        said, all_of = float(self.sizes[found].sum()), float(self.sizes[list(inside)].sum())
        expected = self.sizes * self.shares
        point = _figures(expected[found].sum(), expected[rest].sum(), said, all_of)
        drawn = _figures(self.draws[:, found].sum(axis=1), self.draws[:, rest].sum(axis=1), said, all_of)
        estimates = {key: _estimate(float(value), drawn[key]) for key, value in point.items()}
        answered = [item for item in self.answered if inside[item.stratum]]
        if not said:
            estimates["precision"] = Estimate(None, None, None)
        return Measured(
            name=name,
            candidates=int(all_of),
            positives=int(said),
            answers=len(answered),
            kappa_graded=self._graded(answered, labels),
            confusion=self._confusion(inside, labels),
            **estimates,
        )

    def _graded(self, answered: Sequence[Item], labels: Sequence[Label | None]) -> float | None:
        pairs, weights = [], []
        for item in answered:
            label = labels[item.stratum]
            if label in GRADES:
                pairs.append((GRADES.index(label), GRADES.index(self.labels[item.id])))
                weights.append(self._weight(item.stratum))
        found = kappa(pairs, weights=weights, graded=True)
        return None if found is None else round(found, DIGITS)

    def _weight(self, stratum: int) -> float:
        return float(self.sizes[stratum] / self.asked[stratum])

    def _confusion(self, inside: Sequence[bool], labels: Sequence[Label | None]) -> dict[str, dict[str, float]]:
        table = {str(label): {"relevant": 0.0, "other": 0.0} for label in reversed(GRADES)}
        for number, (here, label) in enumerate(zip(inside, labels, strict=True)):
            if here and label is not None:
                relevant = float(self.sizes[number] * self.shares[number])
                table[str(label)]["relevant"] += relevant
                table[str(label)]["other"] += float(self.sizes[number]) - relevant
        return {label: {name: round(value, 2) for name, value in row.items()} for label, row in table.items()}


def _figures(hits: Any, missed: Any, said: float, candidates: float) -> dict[str, Any]:
    """Precision, recall, F1 and kappa of one or many tables: `hits` of `said` are relevant, `missed` of the rest."""
    import numpy as np

    hits, missed = np.asarray(hits, dtype=float), np.asarray(missed, dtype=float)
    real = hits + missed
    agreed = (hits + candidates - said - missed) / candidates
    chance = (said * real + (candidates - said) * (candidates - real)) / candidates**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "precision": hits / said if said else np.zeros_like(hits),
            "recall": np.where(real > 0, hits / real, 0.0),
            "f1": np.where(said + real > 0, 2 * hits / (said + real), 0.0),
            "kappa": np.where(chance < 1, (agreed - chance) / (1 - chance), 0.0),
        }


def _estimate(point: float, draws: Values) -> Estimate:
    import numpy as np

    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(*(round(float(value), DIGITS) for value in (point, min(low, point), max(high, point))))
