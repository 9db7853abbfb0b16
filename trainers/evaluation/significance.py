"""Is one system better than another? Query by query, over several seeds and several sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, overload

from hf_relabel.builders.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 500
_DRAWN_AT_ONCE = 2_000_000
"""Counts of queries held at once, at most: with many queries, fewer samples at once."""
_ROUNDING = 1e-12
"""Of the greatest value: a difference below it comes from the order of additions, and is none."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A system against a baseline on the same queries. Values are in the metric's own unit.

    Attributes:
        difference: mean of system minus baseline; `low` and `high` bound it (percentile bootstrap).
        p_bootstrap, p_ttest: two-sided chances of such a difference where there is none (Smucker et al. 2007). 1 for
            one query, which says nothing of others.
        effect_size: Cohen's d of the paired differences (Sakai 2016): their mean over their standard deviation; 0 where
            they are all the same, as it has no value there.
        hedges_g: the same, corrected for few queries; as it is for one or two.
        standard_error: of the difference, over queries; seeds are taken as given.
        seed_sd: standard deviation of the difference from seed to seed; None for one seed.
        wins, ties, losses: queries on which the mean over seeds is higher, equal, lower.
    """

    queries: int
    seeds: int
    mean_system: float
    mean_baseline: float
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_ttest: float
    effect_size: float
    hedges_g: float
    standard_error: float
    seed_sd: float | None
    wins: int
    ties: int
    losses: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """A summary over data sets whose true differences may differ (DerSimonian and Laird 1986).

    In the unit of the differences; `tau_squared` in its square.

    Attributes:
        low, high: bounds of the mean, from the normal distribution.
        p: two-sided, of a mean this far from 0.
        tau_squared: variance of the true differences between sets.
        i_squared: share of the variance that is between sets, in [0, 1].
        weights: of the sets, summing to 1.
    """

    mean: float
    low: float
    high: float
    p: float
    tau_squared: float
    i_squared: float
    weights: tuple[float, ...]


def paired_comparison(
    system: Any, baseline: Any, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> PairedComparison:
    """Compare two systems measured on the same queries with the same seeds.

    The interval comes from a bootstrap that draws queries and, where there are several, seeds anew, each by itself
    (the pigeonhole bootstrap, Owen 2007): a difference must hold on other queries and on other seeds. With few seeds
    the interval is too narrow in what it says of seeds. The t-test is over queries, on the means over seeds.

    Args:
        system, baseline: shape (seeds, queries) or (queries,), in any unit, the same seed and query at the same place.
        confidence: of the interval.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ConfigError: the shapes differ, there are no queries, a value is no number, or a setting is out of range.
    """
    import numpy as np
    from scipy import stats

    one, other = _table(system), _table(baseline)
    if one.shape != other.shape:
        raise ConfigError(f"Values of shape {one.shape} and {other.shape} cannot be paired.")
    _check_confidence(confidence)
    if resamples != int(resamples) or resamples < 1:
        raise ConfigError(f"The number of bootstrap samples must be a whole number of 1 or more, not {resamples}.")
    seeds, queries = one.shape
    rounding = _ROUNDING * float(max(np.abs(one).max(), np.abs(other).max()))
    differences = _without_rounding(one - other, rounding)
    by_query = _without_rounding(differences.mean(axis=0), rounding)
    mean = float(_without_rounding(by_query.mean(), rounding))
    spread = float(by_query.std(ddof=1)) if np.ptp(by_query) > rounding else 0.0
    drawn = _without_rounding(_bootstrap(differences, int(resamples), np.random.default_rng(seed)), rounding)
    tail = (1 - confidence) / 2
    low, high = (float(value) for value in np.quantile(drawn, [tail, 1 - tail]))
    # Two tails of the bootstrap's own distribution; one is added, as no chance is known to be nothing.
    below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
    p_bootstrap = min(1.0, 2 * (min(below, above) + 1) / (resamples + 1)) if queries > 1 else 1.0
    p_ttest = float(stats.ttest_1samp(by_query, 0.0).pvalue) if spread else float(mean == 0 or queries == 1)
    effect = mean / spread if spread else 0.0
    correction = 1 - 3 / (4 * (queries - 1) - 1) if queries > 2 else 1.0
    return PairedComparison(
        queries=queries,
        seeds=seeds,
        mean_system=float(one.mean()),
        mean_baseline=float(other.mean()),
        difference=mean,
        low=low,
        high=high,
        p_bootstrap=p_bootstrap,
        p_ttest=p_ttest,
        effect_size=effect,
        hedges_g=effect * correction,
        standard_error=spread / queries**0.5,
        seed_sd=float(differences.mean(axis=1).std(ddof=1)) if seeds > 1 else None,
        wins=int((by_query > 0).sum()),
        ties=int((by_query == 0).sum()),
        losses=int((by_query < 0).sum()),
    )


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


def random_effects(
    differences: Sequence[float], standard_errors: Sequence[float], *, confidence: float = 0.95
) -> RandomEffects:
    """Summarise the differences on several sets (DerSimonian and Laird 1986). One set keeps its own interval.

    By hand, as statsmodels' `combine_effects` takes the variance between sets as it is where it comes out below 0, and
    its mean is then not that of DerSimonian and Laird, who take 0. Otherwise it gives the same.

    Args:
        differences: shape (sets,), in any one unit.
        standard_errors: shape (sets,), in the same unit, above 0. All may be 0 where all differences are: two systems
            that give the same results everywhere differ by 0, p = 1.
        confidence: of the interval.

    Raises:
        ConfigError: the numbers of values differ, there are none, an error is not above 0, or the confidence is out of
            range.
    """
    import numpy as np
    from scipy import stats

    _check_confidence(confidence)
    effects, errors = np.asarray(differences, dtype=np.float64), np.asarray(standard_errors, dtype=np.float64)
    if effects.shape != errors.shape or effects.ndim != 1 or not effects.size:
        raise ConfigError(f"{effects.size} differences and {errors.size} standard errors cannot be summarised.")
    sets = effects.size
    if not effects.any() and not errors.any():
        return RandomEffects(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, (1 / sets,) * sets)
    if not (np.isfinite(effects).all() and np.isfinite(errors).all() and (errors > 0).all()):
        raise ConfigError(
            "Differences must be numbers, and standard errors above 0: a set with equal results has none."
        )
    fixed = errors**-2.0
    residue = float((fixed * (effects - (fixed @ effects) / fixed.sum()) ** 2).sum())  # Cochran's Q
    excess = max(0.0, residue - (sets - 1)) if sets > 1 else 0.0
    tau_squared = excess / float(fixed.sum() - (fixed**2).sum() / fixed.sum()) if excess else 0.0
    inverse = 1 / (errors**2 + tau_squared)
    mean, error = float(inverse @ effects / inverse.sum()), float(inverse.sum() ** -0.5)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * error
    return RandomEffects(
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=float(2 * stats.norm.sf(abs(mean) / error)),
        tau_squared=tau_squared,
        i_squared=excess / residue if excess else 0.0,
        weights=tuple(float(value) for value in inverse / inverse.sum()),
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"The confidence must be between 0 and 1, not {confidence}.")


def _table(values: Any) -> Values:
    import numpy as np

    try:
        table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise ConfigError("Values are numbers, as many queries for every seed.") from None
    if table.ndim != 2 or not table.size:
        raise ConfigError(f"Values are (seeds, queries), at least one of each, not of shape {table.shape}.")
    if not np.isfinite(table).all():
        raise ConfigError("A value is no number: nothing can be compared.")
    return table


def _without_rounding(values: Values | np.float64, rounding: float) -> Values:
    """With 0 for what is no more than an error of rounding."""
    import numpy as np

    return np.where(np.abs(values) <= rounding, 0.0, values)


def _bootstrap(differences: Values, resamples: int, chance: np.random.Generator) -> Values:
    """Shape (resamples,): means of redrawn queries and seeds. Drawn as counts, so that memory is bounded."""
    import numpy as np

    seeds, queries = differences.shape
    of_queries, of_seeds = np.full(queries, 1 / queries), np.full(seeds, 1 / seeds)
    at_once = max(1, min(_RESAMPLES_AT_ONCE, _DRAWN_AT_ONCE // queries))
    means = []
    for first in range(0, resamples, at_once):
        some = min(at_once, resamples - first)
        query_counts = chance.multinomial(queries, of_queries, size=some)
        seed_counts = chance.multinomial(seeds, of_seeds, size=some)
        means.append(((seed_counts @ differences) * query_counts).sum(axis=1) / (queries * seeds))
    return np.concatenate(means)
