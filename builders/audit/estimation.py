"""How many candidates are relevant, from the answers to a stratified sample.

In each stratum those who were drawn and answered are a random sample, so each answer stands for size / answered
candidates. The number of relevant ones in a part of the whole is what was found among the answered plus a share of the
rest. That share's interval is Korn and Graubard's (1998): Clopper and Pearson's exact one, with the effective number of
answers in place of their number. The effective number is that of a simple random sample with the same variance; strata
in which all or none are relevant count with a share of (k + 1/2) / (n + 1) there, since they have a variance too, and
it is never more than the number of answers. One interval for a part, and not one per stratum added up, because the
small doubts of many strata would add up to more than the data.

Items on which people are tied count as half better and half worse for the estimates, kappas among them; the interval
holds whichever way they would be decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_relabel.builders.audit.people import GRADES
from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.judgements import Label

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

DRAWS = 4_000


@dataclass(frozen=True, slots=True)
class Number:
    """How many candidates of a part are relevant.

    Attributes:
        size: candidates in the part.
        low, high: draws of the number, for the lower and the upper end of an interval.
    """

    size: int
    point: float
    low: Values
    high: Values


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of each stratum within a part: candidates, answers, relevant ones, ties; `of` answers the share comes from."""

    sizes: Values
    answered: Values
    relevant: Values
    tied: Values
    of: Values
    of_relevant: Values
    of_tied: Values


class Answered:
    """The answers by cell of a sample.

    Args:
        labels: what people say together, by item.
        undecided: items on which they are tied.
        seed: of the draws.
    """

    def __init__(self, sample: AuditSample, labels: Mapping[str, Label], undecided: Sequence[str], seed: int) -> None:
        import numpy as np

        self.sizes = np.array([cell.size for cell in sample.cells], dtype=np.float64)
        self.stratum = np.array([cell.stratum for cell in sample.cells])
        self.outcomes = [stratum.outcome for stratum in sample.strata]
        self.relevant, self.other, self.tied = (np.zeros(len(self.sizes)) for _ in range(3))
        self.graded = np.zeros((len(self.sizes), len(GRADES)))
        ties = frozenset(undecided)
        for item in sample.items:
            if item.id in ties:
                self.tied[item.cell] += 1
                self.graded[item.cell] += [0.5 * (label in (Label.BETTER, Label.WORSE)) for label in GRADES]
            elif item.id in labels:
                kind = self.relevant if labels[item.id] is Label.BETTER else self.other
                kind[item.cell] += 1
                self.graded[item.cell, GRADES.index(labels[item.id])] += 1
        self._chance = np.random.default_rng(seed)

    @property
    def answers(self) -> Values:
        """By cell, ties included."""
        found: Values = self.relevant + self.other + self.tied
        return found

    def weights(self) -> Values:
        """By stratum, how many candidates an answer stands for that is no tie; 0 where there is none."""
        import numpy as np

        decided = self._by_stratum(self.relevant + self.other)
        return np.divide(self._by_stratum(self.sizes), decided, out=np.zeros_like(decided), where=decided > 0)

    def silent(self) -> Mask:
        """The strata that nobody answered for."""
        found: Mask = self._by_stratum(self.answers) == 0
        return found

    def expected(self, inside: Mask) -> float:
        """The estimated number of relevant candidates in these cells."""
        return float(self.grades(inside)[GRADES.index(Label.BETTER)])

    def grades(self, inside: Mask) -> Values:
        """The estimated numbers of candidates in these cells that are of each of `GRADES`."""
        import numpy as np

        sizes, answered = (self._by_stratum(np.where(inside, values, 0.0)) for values in (self.sizes, self.answers))
        columns = range(len(GRADES))
        found = np.stack([self._by_stratum(np.where(inside, self.graded[:, at], 0.0)) for at in columns], axis=1)
        whole = np.stack([self._by_stratum(self.graded[:, at]) for at in columns], axis=1)
        of = found.copy()
        for number, others in self._lenders(answered).items():
            of[number] = whole[others].sum(axis=0)
        rest = (sizes - answered)[:, None] * of / of.sum(axis=1, keepdims=True)
        estimated: Values = (found + rest)[sizes > 0].sum(axis=0)
        return estimated

    def number(self, inside: Mask) -> Number:
        """The number of relevant candidates in these cells, with draws for intervals."""
        counts = self._counts(inside)
        return Number(
            int(counts.sizes.sum()),
            self.expected(inside),
            self._drawn(counts, 0, (0, 1)),
            self._drawn(counts, 1, (1, 0)),
        )

    def _drawn(self, counts: _Counts, ties: int, added: tuple[float, float]) -> Values:
        """Draws of the number; `ties` are relevant (1) or not (0), `added` is what Clopper and Pearson add."""
        import numpy as np

        known = float((counts.relevant + ties * counts.tied).sum())
        unseen = counts.sizes - counts.answered
        if not unseen.sum():
            return np.full(DRAWS, known)
        hits, answers = counts.of_relevant + ties * counts.of_tied, counts.of
        weights = unseen / unseen.sum()
        share = float((weights * hits / answers).sum())
        smooth = (hits + 0.5) / (answers + 1)
        about = float((weights * smooth).sum())
        variance = float((weights**2 * smooth * (1 - smooth) / answers).sum())
        effective = min(about * (1 - about) / variance, float(answers[counts.sizes > 0].sum()))
        # A share of exactly 0 has no lower beta distribution, one of exactly 1 no upper one: the share is that then.
        first, second = share * effective + added[0], (1 - share) * effective + added[1]
        if min(first, second) < 1e-9:
            shares = np.full(DRAWS, float(first > second))
        else:
            shares = self._chance.beta(first, second, size=DRAWS)
        found: Values = (known + self._chance.binomial(int(unseen.sum()), shares)).astype(np.float64)
        return found

    def _counts(self, inside: Mask) -> _Counts:
        import numpy as np

        sizes, answered, relevant, tied = (
            self._by_stratum(np.where(inside, values, 0.0))
            for values in (self.sizes, self.answers, self.relevant, self.tied)
        )
        of, of_relevant, of_tied = answered.copy(), relevant.copy(), tied.copy()
        whole = [self._by_stratum(values) for values in (self.answers, self.relevant, self.tied)]
        for number, others in self._lenders(answered).items():
            of[number], of_relevant[number], of_tied[number] = (values[others].sum() for values in whole)
        return _Counts(sizes, answered, relevant, tied, of, of_relevant, of_tied)

    def _lenders(self, answered: Values) -> dict[int, Mask]:
        """Where a stratum has no answer in a part, its share comes from all of the stratum, else of its verdict."""
        import numpy as np

        answers, found = self._by_stratum(self.answers), {}
        for number in np.flatnonzero(answered == 0):
            alike = [outcome is self.outcomes[number] for outcome in self.outcomes]
            for others in (np.arange(len(answers)) == number, np.array(alike), np.ones(len(answers), dtype=bool)):
                if answers[others].sum():
                    found[int(number)] = others
                    break
        return found

    def _by_stratum(self, values: Values) -> Values:
        import numpy as np

        return np.bincount(self.stratum, values, minlength=len(self.outcomes)).astype(np.float64)
