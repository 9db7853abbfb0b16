"""Is one system better than another? Query by query, over several seeds and several sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A system against a baseline on the same queries. Values are in the metric's own unit.

    Attributes:
        difference: mean of system minus baseline; `low` and `high` bound it (percentile bootstrap).
        p_bootstrap, p_ttest: two-sided chances of such a difference where there is none (Smucker et al. 2007).
        effect_size: Cohen's d of the paired differences (Sakai 2016): their mean over their standard deviation.
        hedges_g: the same, corrected for few queries.
        standard_error: of the difference, over queries.
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

    Attributes:
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
    (the pigeonhole bootstrap, Owen 2007): a difference must hold on other queries and on other seeds.

    Args:
        system, baseline: shape (seeds, queries) or (queries,).
        confidence: of the interval.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ConfigError: the shapes differ, there are no queries, or a value is no number.
    """
    import numpy as np
    from scipy import stats

    one, other = _table(system), _table(baseline)
    if one.shape != other.shape:
        raise ConfigError(f"Values of shape {one.shape} and {other.shape} cannot be paired.")
    if not 0 < confidence < 1:
        raise ConfigError(f"The confidence must be between 0 and 1, not {confidence}.")
    seeds, queries = one.shape
    differences = one - other
    by_query = differences.mean(axis=0)
    mean = float(by_query.mean())
    spread = float(by_query.std(ddof=1)) if queries > 1 else 0.0
    drawn = _bootstrap(differences, resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = (float(value) for value in np.quantile(drawn, [tail, 1 - tail]))
    # Two tails of the bootstrap's own distribution; one is added, as no chance is known to be nothing.
    below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
    p_bootstrap = min(1.0, 2 * (min(below, above) + 1) / (resamples + 1))
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
        p_ttest=float(stats.ttest_1samp(by_query, 0.0).pvalue) if spread else float(mean == 0),
        effect_size=effect,
        hedges_g=effect * correction,
        standard_error=spread / queries**0.5,
        seed_sd=float(differences.mean(axis=1).std(ddof=1)) if seeds > 1 else None,
        wins=int((by_query > 0).sum()),
        ties=int((by_query == 0).sum()),
        losses=int((by_query < 0).sum()),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Chances corrected for how many there are, by name (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return {}
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    return {name: float(value) for name, value in zip(p_values, corrected, strict=True)}


def random_effects(
    differences: Sequence[float], standard_errors: Sequence[float], *, confidence: float = 0.95
) -> RandomEffects:
    """Summarise the differences on several sets (DerSimonian and Laird 1986).

    Args:
        differences: shape (sets,).
        standard_errors: shape (sets,), above 0.

    Raises:
        ConfigError: the numbers of values differ, there are none, or an error is not above 0.
    """
    import numpy as np
    from scipy import stats
    from statsmodels.stats.meta_analysis import combine_effects

    effects, errors = np.asarray(differences, dtype=np.float64), np.asarray(standard_errors, dtype=np.float64)
    if effects.shape != errors.shape or effects.ndim != 1 or not effects.size:
        raise ConfigError(f"{effects.size} differences and {errors.size} standard errors cannot be summarised.")
    if not (np.isfinite(effects).all() and np.isfinite(errors).all() and (errors > 0).all()):
        raise ConfigError("Differences must be numbers, and standard errors above 0: a set with equal results has none.")
    if effects.size == 1:
        mean, error, tau, share, weights = float(effects[0]), float(errors[0]), 0.0, 0.0, (1.0,)
    else:
        found = combine_effects(effects, errors**2, method_re="dl", alpha=1 - confidence)
        tau = max(0.0, float(found.tau2))
        inverse = 1 / (errors**2 + tau)
        weights = tuple(float(value) for value in inverse / inverse.sum())
        mean, error = float(found.mean_effect_re), float(inverse.sum() ** -0.5)
        share = max(0.0, float(found.i2))
    half = float(stats.norm.ppf((1 + confidence) / 2)) * error
    p = float(2 * stats.norm.sf(abs(mean) / error))
    return RandomEffects(mean, mean - half, mean + half, p, tau, share, weights)


def _table(values: Any) -> Values:
    import numpy as np

    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or not table.size:
        raise ConfigError(f"Values are (seeds, queries), at least one of each, not of shape {table.shape}.")
    if not np.isfinite(table).all():
        raise ConfigError("A value is no number: nothing can be compared.")
    return table


def _bootstrap(differences: Values, resamples: int, chance: np.random.Generator) -> Values:
    """Shape (resamples,): means of redrawn queries and seeds. Drawn as counts, so that memory is bounded."""
    import numpy as np

    seeds, queries = differences.shape
    of_queries, of_seeds = np.full(queries, 1 / queries), np.full(seeds, 1 / seeds)
    means = []
    for first in range(0, resamples, _RESAMPLES_AT_ONCE):
        some = min(_RESAMPLES_AT_ONCE, resamples - first)
        query_counts = chance.multinomial(queries, of_queries, size=some)
        seed_counts = chance.multinomial(seeds, of_seeds, size=some)
        means.append(((seed_counts @ differences) * query_counts).sum(axis=1) / (queries * seeds))
    return np.concatenate(means)
