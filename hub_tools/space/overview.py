"""What a release says of itself, from its manifest alone: nothing else is read, whatever its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hf_relabel.builders.released import Release


@dataclass(frozen=True, slots=True)
class ConfigCounts:
    """A config, or one of its subsets: where rows and passages went. See `builders.manifest.ConfigCounts`.

    Attributes:
        is_default: whether it loads when no config is named.
    """

    name: str
    rows: int
    rows_changed: int
    rows_dropped: int
    positives: int
    negatives: int
    moved: int
    negatives_dropped: int
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class SubsetCounts:
    """What was found in a subset; "" is the name of the rows without one.

    Attributes:
        outcomes: candidates by outcome.
        spread: rows by their number of false negatives (copies of positives included), ascending.
    """

    name: str
    rows: int
    rows_with_false_negatives: int
    candidates: int
    outcomes: Mapping[str, int]
    spread: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class StageCounts:
    """What a stage of the cascade answered, and what that took.

    Attributes:
        judge: kind and model as people name them, "" where the manifest does not say.
        labels: candidates by label; `not-asked` where the stage did not see them.
        prompt_tokens, completion_tokens: as far as its server counted them.
        cost: US dollars; None without prices.
        cut: candidates judged on a part of their text.
    """

    name: str
    judge: str
    labels: Mapping[str, int]
    prompt_tokens: float
    completion_tokens: float
    cost: float | None
    cut: int


@dataclass(frozen=True, slots=True)
class StagesAgreement:
    """How two stages that follow each other agree that candidates are false negatives, where both answered.

    Attributes:
        agree: share in [0, 1] on which they do; None without candidates.
        kappa: Cohen's; None where it is not defined.
    """

    first: str
    second: str
    candidates: int
    both: int
    only_first: int
    only_second: int
    neither: int
    agree: float | None
    kappa: float | None


@dataclass(frozen=True, slots=True)
class TechniqueEvidence:
    """A config, what it is, and what backs it.

    Attributes:
        what: what the technique does, in a sentence.
        mean: of the student trained on it (`compare`), on `metric`, in [0, 1]; None where it was not compared.
        difference, low, high, p: to the baseline, with a 95 % interval and Holm's correction; None for the baseline.
        is_chosen: whether `compare` speaks for it.
    """

    name: str
    what: str
    is_default: bool
    rows: int
    mean: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """What is shown first of a release. Every text in it may come from others and is to be shown as text.

    Attributes:
        name: folder, or `user/repo@revision`.
        revision: its commit, None for a folder.
        version: such as `v1.0.0`, None where it has none.
        source: what is known of where the rows came from, by name.
        subsets: the largest first; `total` is of all.
        metric: what `techniques` were compared by, None where they were not.
        default_reason: why the default config is the default, in a sentence.
        audit: the audit in the manifest, see `AuditReport.to_dict`; None where there is none.
        zones: the calibrated thresholds, see `calibration.Calibration.to_dict`; None where there are none.
        suspects: suspected ground truths; None where nobody searched.
        packages: versions of what wrote it.
    """

    name: str
    revision: str | None
    version: str | None
    rows: int
    first_row: int
    source: Mapping[str, Any]
    default_config: str
    default_reason: str
    limit: int
    configs: tuple[ConfigCounts, ...]
    config_subsets: Mapping[str, tuple[ConfigCounts, ...]]
    total: SubsetCounts
    subsets: tuple[SubsetCounts, ...]
    stages: tuple[StageCounts, ...]
    agreement: tuple[StagesAgreement, ...]
    techniques: tuple[TechniqueEvidence, ...]
    metric: str | None
    audit: Mapping[str, Any] | None
    zones: Mapping[str, Any] | None
    suspects: int | None
    packages: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def overview_of(release: Release, *, prices: Mapping[str, Mapping[str, float]] | None = None) -> Overview:
    """The overview of an open release.

    Args:
        prices: per stage "prompt" and "completion", US dollars per million tokens, where they are known.

    Raises:
        BuildError: the manifest lacks what every build writes.
    """
    raise NotImplementedError
