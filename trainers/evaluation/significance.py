"""Is one system better than another? Over queries, seeds and sets together.

What is asked: would the mean over these sets still differ with other queries and with other runs? A run is measured on
all sets, so its luck is shared by all of them, and a few runs tell little of how far the next would be off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from hf_relabel.builders.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

_ROUNDING = 1e-12
"""Of the greatest value: a difference below it comes from the order of additions, and is none."""
_LEAST_P = 1e-12
_MOST_SEEDS = 100

Range = tuple[float, float]
MEANS, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)
"""Within what the means of measures lie that each query has in [0, 1], and differences of two of them."""


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """A system against a baseline: the mean over sets of the mean over seeds and queries, in the metric's own unit.

    Attributes:
        low, high: bounds of the difference; None where the values say nothing of other runs or other queries: one seed,
            a set of one query, or a difference that is everywhere the same, which shows no chance to judge by.
        p: two-sided chance of a difference at least this far from 0 where there is none; 1 where there are no bounds.
        seeds: runs of each.
        queries: of each set.
        seed_error: standard error of the difference from run to run; None for one seed.
        query_error: the same from query to query; None with a set of one query.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    seeds: int
    queries: tuple[int, ...]
    seed_error: float | None
    query_error: float | None


@dataclass(frozen=True, slots=True)
class _Part:
    """One source of chance: an estimate of the variance it gives the mean, and its degrees of freedom."""

    variance: float
    freedom: int


def mean_difference(
    system: Sequence[Any],
    baseline: Sequence[Any],
    *,
    confidence: float = 0.95,
    weights: Sequence[float] | None = None,
    within: Range | None = None,
) -> MeanDifference:
    """Compare two systems measured with the same seeds on the same sets.

    Two sources of chance add up: runs, whose variance is that of the means over all sets from seed to seed, and the
    queries within each set, each set by itself. The bounds are those of Banerjee (1960): their squared distance is the
    sum of each variance times the squared t quantile of its own degrees of freedom. For normal means they hold what
    they promise whatever the shares are, where bootstraps and Welch's degrees of freedom promise too much with 2 or 3
    seeds (`tests.benchmarks.coverage_comparisons` draws all of them).

    Example:
            mean_difference([relabel_on_fiqa, relabel_on_nq], [original_on_fiqa, original_on_nq])

    Args:
        system, baseline: a table of each set, of shape (seeds, queries), the same seed and query at the same place.
        confidence: of the bounds.
        weights: of each set in the mean, adding up to 1, see `cards.set_groups.weights`; None for equal ones.
        within: what no difference can exceed, `DIFFERENCES` for measures in [0, 1]: bounds, which of few queries reach
            beyond it, end there; None to leave them. Nothing else changes by it.

    Raises:
        ConfigError: the shapes differ, there is no set, seed or query, a value is no number, the confidence is out of
            range, or the weights are not one for each set, adding up to 1.
    """
    import numpy as np

    if not 0 < confidence < 1:
        raise ConfigError(f"The confidence must be between 0 and 1, not {confidence}.")
    tables, rounding = _differences(system, baseline)
    shares = _shares(weights, len(tables))
    by_seed = np.average([table.mean(axis=1) for table in tables], axis=0, weights=shares)
    runs = _part(by_seed, 1, rounding)
    queries = [_part(table.mean(axis=0), share, rounding) for table, share in zip(tables, shares, strict=True)]
    mean = float(by_seed.mean()) if abs(by_seed.mean()) > rounding else 0.0
    known = None not in (runs, *queries)
    parts = [each for each in (runs, *queries) if each is not None and each.variance]
    reach = _reach(1 - confidence, parts) if known and (parts or not mean) else None
    low, high = (None, None) if reach is None else _bounds(mean, reach, within)
    return MeanDifference(
        difference=mean,
        low=low,
        high=high,
        p=1.0 if reach is None else _chance(abs(mean), parts),
        seeds=len(by_seed),
        queries=tuple(table.shape[1] for table in tables),
        seed_error=None if runs is None else runs.variance**0.5,
        query_error=None if None in queries else sum(each.variance for each in queries if each) ** 0.5,
    )


def interval_text(low: float | None, high: float | None) -> str:
    """Bounds in points."""
    return "not known" if low is None or high is None else f"[{100 * low:+.2f}, {100 * high:+.2f}]"


def seeds_needed(found: MeanDifference, alpha: float) -> int | None:
    """About how many seeds would show the difference that was found, if the next ones are like these.

    Args:
        alpha: the chance below which it counts as shown.

    Returns:
        None where no number of seeds would, or where nothing is known of runs or queries.
    """
    import numpy as np
    from scipy import stats

    if found.seed_error is None or found.query_error is None or not found.difference:
        return None
    seeds = np.arange(2, _MOST_SEEDS + 1)
    of_runs = stats.t.isf(alpha / 2, seeds - 1) ** 2 * found.seed_error**2 * found.seeds / seeds
    of_queries = stats.norm.isf(alpha / 2) ** 2 * found.query_error**2
    enough = seeds[of_runs + of_queries < found.difference**2]
    return int(enough[0]) if enough.size else None


def effect_size(system: Any, baseline: Any) -> float:
    """Cohen's d of the paired differences of one set (Sakai 2016): their mean over queries, after that over seeds, by
    their standard deviation; 0 where they are all the same, as it has no value there.

    Args:
        system, baseline: of shape (seeds, queries).
    """
    (table,), rounding = _differences([system], [baseline])
    part = _part(table.mean(axis=0), 1, rounding)
    return float(table.mean()) / (part.variance * table.shape[1]) ** 0.5 if part and part.variance else 0.0


@overload
def holm(p_values: Mapping[str, float]) -> dict[str, float]: ...
@overload
def holm(p_values: Sequence[float]) -> list[float]: ...
def holm(p_values: Mapping[str, float] | Sequence[float]) -> dict[str, float] | list[float]:
    """Chances corrected for how many there are (Holm 1979), by name or in their order.

    Raises:
        ConfigError: a chance is not in [0, 1].
    """
    from statsmodels.stats.multitest import multipletests

    if isinstance(p_values, Mapping):
        return dict(zip(p_values, holm(list(p_values.values())), strict=True))
    for value in p_values:
        if not 0 <= value <= 1:
            raise ConfigError(f"A p value must be between 0 and 1, not {value}.")
    return [float(value) for value in multipletests(list(p_values), method="holm")[1]] if len(p_values) else []


def mean_interval(
    tables: Sequence[Any],
    *,
    confidence: float = 0.95,
    weights: Sequence[float] | None = None,
    within: Range | None = None,
) -> tuple[float, float] | None:
    """Bounds of one model's mean over sets: how far other queries would be off, not other runs of the training.

    Example:
            mean_interval([[per_query_on_fiqa], [per_query_on_nq]])

    Args:
        tables: of each set, of shape (1, queries).
        within: what no mean can exceed, `MEANS` for measures in [0, 1]: bounds, which of few queries reach beyond it,
            end there; None to leave them.

    Returns:
        None where a set has one query, or all values are the same: they say nothing of others.
    """
    values = list(_tables(tables))
    shares = _shares(weights, len(values))
    parts = [_part(each.mean(axis=0), share, 0.0) for each, share in zip(values, shares, strict=True)]
    known = [each for each in parts if each is not None]
    if len(known) < len(parts) or not any(each.variance for each in known):
        return None
    mean = sum(share * float(each.mean()) for each, share in zip(values, shares, strict=True))
    reach = _reach(1 - confidence, [each for each in known if each.variance])
    return _bounds(mean, reach, within)


def _bounds(mean: float, reach: float, within: Range | None) -> tuple[float, float]:
    low, high = within or (float("-inf"), float("inf"))
    return max(low, mean - reach), min(high, mean + reach)


def _shares(weights: Sequence[float] | None, sets: int) -> list[float]:
    """What each set counts for in the mean.

    Raises:
        ConfigError: they are not one for each, adding up to 1.
    """
    shares = [1 / sets] * sets if weights is None else list(weights)
    if len(shares) != sets or min(shares) < 0 or abs(sum(shares) - 1) > _ROUNDING:
        raise ConfigError(f"The weights {shares} are not one for each of {sets} sets, adding up to 1.")
    return shares


def _part(means: Values, share: float, rounding: float) -> _Part | None:
    """What the spread of some means gives a mean of which they are this share. None for one, which has no spread."""
    import numpy as np

    count = len(means)
    if count < 2:
        return None
    spread = float(means.var(ddof=1)) if np.ptp(means) > rounding else 0.0
    return _Part(spread / count * share**2, count - 1)


def _reach(alpha: float, parts: Sequence[_Part]) -> float:
    """How far a mean is from the true one, but for a chance of `alpha`."""
    from scipy.special import stdtrit

    # `scipy.stats.t.isf` is this with checks, which take ten times as long.
    quantiles = stdtrit([part.freedom for part in parts], alpha / 2)
    return float(sum(part.variance * quantile**2 for part, quantile in zip(parts, quantiles, strict=True)) ** 0.5)


def _chance(distance: float, parts: Sequence[_Part]) -> float:
    """The chance at which the bounds just reach 0."""
    from math import exp, log

    from scipy.optimize import brentq

    if not distance:
        return 1.0
    if _reach(_LEAST_P, parts) <= distance:
        return _LEAST_P
    return exp(brentq(lambda logarithm: _reach(exp(logarithm), parts) - distance, log(_LEAST_P), 0.0, rtol=1e-9))


def _differences(system: Sequence[Any], baseline: Sequence[Any]) -> tuple[list[Values], float]:
    """The differences of each set, without errors of rounding, and how large those may be."""
    import numpy as np

    one, other = list(_tables(system)), list(_tables(baseline))
    shapes = [table.shape for table in one]
    if not shapes or shapes != [table.shape for table in other] or len({seeds for seeds, _ in shapes}) > 1:
        raise ConfigError(
            f"Values of shapes {shapes} and {[table.shape for table in other]} cannot be paired: the same seeds on the"
            " same queries of one or more sets are."
        )
    rounding = _ROUNDING * max(float(np.abs(table).max()) for table in (*one, *other))
    pairs = [left - right for left, right in zip(one, other, strict=True)]
    return [np.where(np.abs(pair) <= rounding, 0.0, pair) for pair in pairs], rounding


def _tables(values: Sequence[Any]) -> Iterator[Values]:
    import numpy as np

    for each in values:
        try:
            table = np.asarray(each, dtype=np.float64)
        except (TypeError, ValueError):
            raise ConfigError("Values are numbers, as many queries for every seed.") from None
        if table.ndim != 2 or not table.size:
            raise ConfigError(f"Values are (seeds, queries), at least one of each, not of shape {table.shape}.")
        if not np.isfinite(table).all():
            raise ConfigError("A value is no number: nothing can be compared.")
        yield table
