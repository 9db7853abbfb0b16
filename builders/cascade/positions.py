"""Whether a judge of lists prefers some places of its prompt.

Which candidate stands where is drawn by a hash of the texts, so of a judge that looks at candidates only, each place of
a prompt is as likely as any other to hold what it calls relevant. How many it calls so differs from prompt to prompt,
and long prompts have places that short ones lack: each prompt is therefore compared with itself. Given that k of its n
candidates are called relevant, a place is expected to hold k / n of them, and the covariances are those of drawing
without replacement (the generalised Mantel-Haenszel test; A. Agresti, Categorical Data Analysis, 3rd ed., 8.4.3).

Two tests share the error (Bonferroni): of equal chances at all places, by chi-squared, and of a trend along the prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_relabel.builders.cascade.rules import RELEVANT
from hf_relabel.builders.judgements import Judgement, Label

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

SIGNIFICANT = 0.01
"""Level of the test. There is one for each judge."""
LEAST_VARIANCE = 5
"""Of the number called relevant at a place, so that chi-squared fits: at least so many of both kinds are expected then.
Places with less are pooled with their neighbours."""
LEAST_ANSWERS = 20
"""Of a place that counts for the spread."""
_ANSWERS = (Label.BETTER, Label.WORSE, Label.IRRELEVANT)


@dataclass(frozen=True, slots=True)
class Place:
    """The candidates shown at one place of a prompt (1-based): how many answers, and of how many labels.

    Attributes:
        expected: how many would be called relevant here by a judge that is blind to places, and calls as many relevant
            of each prompt.
    """

    place: int
    answers: int
    better: int
    relevant: int
    expected: float

    @property
    def excess(self) -> float:
        """Share of the answers that is called relevant beyond what is expected."""
        return (self.relevant - self.expected) / self.answers


@dataclass(frozen=True, slots=True)
class PositionBias:
    """What a judge says at each place.

    Attributes:
        p_value: of what the module's text calls equal chances, None where there is too little to test.
        trend: correlation of place and relevance within prompts: below 0 the first places are called relevant more
            often. None where it is not defined.
        spread: `excess` of the place with the most minus that of the place with the least, places with fewer than 20
            answers aside.
    """

    judge: str
    places: tuple[Place, ...]
    p_value: float | None
    trend: float | None
    spread: float | None

    @property
    def is_biased(self) -> bool:
        return self.p_value is not None and self.p_value < SIGNIFICANT


class PlaceCounts:
    """Adds up, prompt by prompt, what a judge says at each place."""

    def __init__(self) -> None:
        self.labels: Counter[tuple[int, Label]] = Counter()
        self.prompts: Counter[tuple[tuple[int, ...], int]] = Counter()
        """By the places of a prompt that were answered for, and how many of them are called relevant."""

    def add_row(self, said: Mapping[int, Judgement]) -> None:
        """Add what is said of the candidates of a row, which came in one prompt or in several."""
        prompts: dict[int | None, dict[int, Label]] = {}
        for judgement in said.values():
            if judgement.place is not None and judgement.label.is_answer:
                prompts.setdefault(judgement.reply, {})[judgement.place] = judgement.label
        for labels in prompts.values():
            self.labels.update(labels.items())
            self.prompts[tuple(sorted(labels)), sum(label in RELEVANT for label in labels.values())] += 1

    def result(self, judge: str, *, tested: bool = True) -> PositionBias:
        """Args:
        tested: whether scipy is there to test with.
        """
        expected = self._expected()
        places = []
        for number in sorted({place for place, _ in self.labels}):
            better, worse, irrelevant = (self.labels[number, label] for label in _ANSWERS)
            answers = better + worse + irrelevant
            places.append(Place(number, answers, better, better + worse, expected[number]))
        excess = [place.excess for place in places if place.answers >= LEAST_ANSWERS]
        spread = max(excess) - min(excess) if excess else None
        p_value, trend = _tested(places, self.prompts) if tested and places else (None, None)
        return PositionBias(judge, tuple(places), p_value, trend, spread)

    def _expected(self) -> Counter[int]:
        expected: Counter[int] = Counter()
        for (places, flagged), prompts in self.prompts.items():
            for place in places:
                expected[place] += prompts * flagged / len(places)  # type: ignore[assignment]
        return expected


def _tested(
    places: Sequence[Place], prompts: Mapping[tuple[tuple[int, ...], int], int]
) -> tuple[float | None, float | None]:
    """(p, trend), None where no prompt has a choice, or there is too little of them."""
    import numpy as np
    from scipy.stats import chi2, norm

    numbers = np.array([place.place for place in places], dtype=float)
    excess = np.array([place.relevant - place.expected for place in places])
    covariance, of_labels, of_places = np.zeros((len(places), len(places))), 0.0, 0.0
    for (held, flagged), count in prompts.items():
        size = len(held)
        if not 0 < flagged < size:
            continue  # no place could have been preferred
        spread, shown = flagged * (size - flagged) / size, np.isin(numbers, held).astype(float)
        covariance += count * spread / (size - 1) * (np.diag(shown) - np.outer(shown, shown) / size)
        of_labels += count * spread
        of_places += count * size * float(np.var(held))
    if not of_labels:
        return None, None
    along = float(numbers @ excess)
    trend = along / (of_labels * of_places) ** 0.5
    pools = _pools(np.diag(covariance))
    if len(pools) < 2:
        return None, trend
    pooled, between = pools @ excess, pools @ covariance @ pools.T
    statistic = pooled @ np.linalg.pinv(between, hermitian=True) @ pooled
    of_any = chi2.sf(statistic, np.linalg.matrix_rank(between, hermitian=True))
    of_trend = 2 * norm.sf(abs(along) / float(numbers @ covariance @ numbers) ** 0.5)
    return min(1.0, 2 * float(min(of_any, of_trend))), trend


def _pools(variances: Values) -> Values:
    """A line for each group of neighbouring places that hold enough together, with ones where its places are."""
    import numpy as np

    groups: list[list[int]] = [[]]
    for place in range(len(variances)):
        if variances[groups[-1]].sum() >= LEAST_VARIANCE:
            groups.append([])
        groups[-1].append(place)
    if len(groups) > 1 and variances[groups[-1]].sum() < LEAST_VARIANCE:
        last = groups.pop()
        groups[-1] += last
    return np.array([[float(place in group) for place in range(len(variances))] for group in groups])
