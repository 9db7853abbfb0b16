"""What a release says of itself, from its manifest alone: nothing else is read, whatever its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.configs.evidence import LEAST_PRECISION, relabelled_precision
from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.readme.zone_lines import zone_lines
from hf_relabel.builders.techniques import Technique
from hf_relabel.cards.kappa import cohens_kappa
from hf_relabel.cards.tables import judges_of

WHAT_IT_DOES = {
    Technique.ORIGINAL: "The rows as they were.",
    Technique.REMOVE: "Without the rows that have a false negative.",
    Technique.REMOVE_HN: "Without the false negatives.",
    Technique.RELABEL: "With the false negatives among the positives.",
    Technique.RELABEL_FILTER: "With the false negatives among the positives, and without the doubtful negatives.",
}
_SOURCE = ("name", "revision", "fingerprint", "config", "split", "format", "subset", "sample", "limit", "skipped")


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
        zones: what calibrated thresholds relabel, drop and keep, a line each; none where they decided nothing.
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
    zones: tuple[str, ...]
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
    manifest = release.manifest
    try:
        return _overview(release, manifest, prices or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BuildError(f"{release.name}: its manifest.json lacks what every build writes ({error!r}).") from error


def _overview(release: Release, manifest: Mapping[str, Any], prices: Mapping[str, Mapping[str, float]]) -> Overview:
    settings, verdicts = manifest["settings"], manifest["verdicts"]
    names = [str(name) for name in settings["techniques"]]
    default = str(settings["default_config"])
    evidence = manifest.get("evidence") or {}
    subsets = [_subset(name, counts) for name, counts in verdicts["subsets"].items()]
    made = manifest.get("tool", {})
    return Overview(
        name=release.name,
        revision=release.revision,
        version=(manifest.get("release") or {}).get("version"),
        rows=int(manifest["rows"]["count"]),
        first_row=int(manifest["rows"]["first"]),
        source={name: manifest["source"][name] for name in _SOURCE if manifest.get("source", {}).get(name)},
        default_config=default,
        default_reason=_default_reason(default, evidence),
        limit=int(settings["limit"]),
        configs=tuple(_config(name, manifest["configs"][name]["total"], name == default) for name in names),
        config_subsets={
            name: tuple(
                _config(subset, counts) for subset, counts in sorted(manifest["configs"][name]["subsets"].items())
            )
            for name in names
        },
        total=_subset("", verdicts["total"]),
        subsets=tuple(sorted(subsets, key=lambda subset: (-subset.rows, subset.name))),
        stages=tuple(_stage(name, manifest, prices.get(name)) for name in settings["stages"]),
        agreement=tuple(map(_agreement, verdicts["total"].get("agreement") or ())),
        techniques=tuple(_technique(name, manifest, evidence.get("compare")) for name in names),
        metric=(evidence.get("compare") or {}).get("metric"),
        audit=evidence.get("audit"),
        zones=_zones(evidence, manifest),
        suspects=_suspects(manifest),
        packages={str(made.get("name", "hf-relabel")): str(made.get("version", "")), **manifest.get("packages", {})},
    )


def _zones(evidence: Mapping[str, Any], manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """A line for each zone; none where there are none, or a manifest that others wrote has something else there."""
    try:
        return tuple(zone_lines(evidence["zones"], manifest))
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _default_reason(default: str, evidence: Mapping[str, Any]) -> str:
    """Why a config is the default, as far as the manifest says."""
    compared, audit = evidence.get("compare"), evidence.get("audit")
    if compared is not None and compared["chosen"] == default:
        return f"A student was trained on each config: {compared['reason']}."
    if compared is not None:
        return f"Chosen by hand: the comparison of students speaks for {compared['chosen']} ({compared['reason']})."
    zones = evidence.get("zones")
    if zones is not None and default == Technique.RELABEL_FILTER:
        return "Its zones follow thresholds that audited labels back, see below."
    if audit is None:
        return (
            "Unaudited: nobody has compared these labels with people's, and no student was trained to compare configs."
        )
    precision = relabelled_precision(zones, audit)
    if precision["value"] is None or precision["low"] is None:
        return "People audited the verdicts, but too few of them to tell how precise they are."
    found = (
        f"people found a precision of {precision['value']:.3f} (at least {precision['low']:.3f}, with 95 % confidence)"
    )
    enough = "enough" if precision["low"] >= LEAST_PRECISION else "not enough"
    return f"Audited: {found}, {enough} to relabel on ({LEAST_PRECISION} is needed)."


def _config(name: str, counts: Mapping[str, Any], is_default: bool = False) -> ConfigCounts:
    return ConfigCounts(
        name=name,
        rows=counts["rows_out"],
        rows_changed=counts["rows_changed"],
        rows_dropped=sum(counts["rows_dropped"].values()),
        positives=counts["positives"],
        negatives=counts["negatives"],
        moved=counts["moved"],
        negatives_dropped=sum(number for reason, number in counts["dropped"].items() if reason != "row"),
        is_default=is_default,
    )


def _subset(name: str, counts: Mapping[str, Any]) -> SubsetCounts:
    spread = {int(number): int(rows) for number, rows in counts["false_negatives_per_row"].items()}
    return SubsetCounts(
        name=name,
        rows=sum(spread.values()),
        rows_with_false_negatives=counts["rows_with_false_negatives"],
        candidates=counts["candidates"],
        outcomes={outcome: sum(reasons.values()) for outcome, reasons in counts["outcomes"].items()},
        spread=dict(sorted(spread.items())),
    )


def _stage(name: str, manifest: Mapping[str, Any], price: Mapping[str, float] | None) -> StageCounts:
    total = manifest["verdicts"]["total"]
    tokens = (total.get("tokens") or {}).get(name, {})
    prompt, completion = float(tokens.get("prompt", 0)), float(tokens.get("completion", 0))
    cost = None if price is None else (prompt * price["prompt"] + completion * price["completion"]) / 1e6
    return StageCounts(
        name=name,
        judge=_judge(name, manifest),
        labels=dict(total["stages"].get(name, {})),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=cost,
        cut=int((total.get("cut") or {}).get(name, 0)),
    )


def _judge(name: str, manifest: Mapping[str, Any]) -> str:
    """Kind and model of a stage's judges."""
    for stage in manifest.get("run", {}).get("stages", ()):
        if stage["name"] == name:
            return " + ".join(dict.fromkeys(f"{judge['kind']} {judge['model']}".strip() for judge in judges_of(stage)))
    return ""


def _agreement(pair: Mapping[str, Any]) -> StagesAgreement:
    both, only_first, only_second, neither = (pair[name] for name in ("both", "only_first", "only_second", "neither"))
    candidates = both + only_first + only_second + neither
    return StagesAgreement(
        pair["first"],
        pair["second"],
        candidates,
        both,
        only_first,
        only_second,
        neither,
        agree=(both + neither) / candidates if candidates else None,
        kappa=cohens_kappa(both, only_first, only_second, neither),
    )


def _technique(name: str, manifest: Mapping[str, Any], compared: Mapping[str, Any] | None) -> TechniqueEvidence:
    arms: Sequence[Mapping[str, Any]] = (compared or {}).get("arms", ())
    arm = next((each for each in arms if each["name"] == name), {})
    return TechniqueEvidence(
        name=name,
        what=WHAT_IT_DOES.get(Technique(name), "") if name in list(Technique) else "",
        is_default=name == manifest["settings"]["default_config"],
        rows=manifest["configs"][name]["total"]["rows_out"],
        mean=arm.get("mean"),
        difference=arm.get("difference"),
        low=arm.get("low"),
        high=arm.get("high"),
        p=arm.get("p_holm"),
        is_chosen=compared is not None and compared["chosen"] == name,
    )


def _suspects(manifest: Mapping[str, Any]) -> int | None:
    if not manifest["settings"].get("suspects"):
        return None
    return sum(int(entry["rows"]) for path, entry in manifest["files"].items() if path.startswith(f"{SUSPECTS}/"))
