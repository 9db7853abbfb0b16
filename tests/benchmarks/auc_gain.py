"""By how much one judge tells false negatives from true ones better than another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_relabel.trainers.students.judge_bench import RESAMPLES, Answers, Figure, with_interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]


def auc_gain(first: Answers, draws: Sequence[Answers], *, resamples: int = RESAMPLES, seed: int = 0) -> Figure:
    """By how much the AUC of a judge lies above that of the first, on the candidates that both answered.

    Args:
        draws: the judge, once for each time it was made (a student of other labels, a model of another seed); the
            figure is the mean over them.

    The interval is paired: each resample takes the same rows for all, and one of the draws at random.
    """
    import numpy as np
    from sklearn.metrics import roc_auc_score as auc

    paired = [_paired(first, each) for each in draws]
    rows = sorted(set(first.rows))
    place = {row: number for number, row in enumerate(rows)}
    of_row = [np.array([place[row] for row, *_ in pairs]) for pairs in paired]
    values = [np.array([pair[1:] for pair in pairs], dtype=np.float64) for pairs in paired]

    def gain(draw: int, times: Values) -> float | None:
        weights = times[of_row[draw]]
        kept = weights > 0
        one, other, truth = values[draw][kept].T
        if not len(truth) or truth.all() or not truth.any():
            return None
        return float(auc(truth, other, sample_weight=weights[kept]) - auc(truth, one, sample_weight=weights[kept]))

    found = [gain(draw, np.ones(len(rows))) for draw in range(len(draws))]
    known = [each for each in found if each is not None]
    chance = np.random.default_rng(seed)
    share = np.full(len(rows), 1 / len(rows))
    resampled = [
        gain(int(chance.integers(len(draws))), chance.multinomial(len(rows), share).astype(float))
        for _ in range(resamples)
    ]
    return with_interval(float(np.mean(known)) if known else None, resampled)


def _paired(first: Answers, second: Answers) -> list[tuple[int, float, float, bool]]:
    """(row, score of the first, score of the second, truth) of the candidates that both answered."""
    scores = dict(zip(zip(second.rows, second.positions, strict=True), second.scores, strict=True))
    mine = zip(first.rows, first.positions, first.scores, first.truth, strict=True)
    return [(row, score, scores[row, place], truth) for row, place, score, truth in mine if (row, place) in scores]
