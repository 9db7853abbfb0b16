"""manifest.json: what a folder of configs is made of, from what, and how many rows and passages went where.

It holds ids, names and counts, no passage and no date: the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import Row
from hf_relabel.builders.techniques import Change, Dropped, RowDropped

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
PACKAGES = ("datasets", "pyarrow")


@dataclass(slots=True)
class ConfigCounts:
    """Where the rows and passages of one config went.

    Every passage that came in is counted once: positives in = `positives` - `moved` + `positives_dropped`, negatives
    in = `negatives` + `moved` + the sum of `dropped`.

    Attributes:
        rows_in, rows_out: rows of the source, and of the config.
        rows_changed: rows of the config that differ from the source's.
        rows_without_negatives: rows of the config that have no negative (left).
        rows_dropped: by reason, see `techniques.RowDropped`.
        positives, negatives: passages in the config.
        moved: negatives that became positives (they count among `positives`).
        positives_dropped: positives of dropped rows.
        dropped: negatives in neither list, by reason, see `techniques.Dropped`.
    """

    rows_in: int = 0
    rows_out: int = 0
    rows_changed: int = 0
    rows_without_negatives: int = 0
    rows_dropped: dict[str, int] = field(default_factory=lambda: {str(reason): 0 for reason in RowDropped})
    positives: int = 0
    negatives: int = 0
    moved: int = 0
    positives_dropped: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {str(reason): 0 for reason in Dropped})

    def add(self, row: Row, change: Change) -> None:
        self.rows_in += 1
        for reason in change.dropped.values():
            self.dropped[reason] += 1
        if change.row_dropped is not None:
            self.rows_dropped[change.row_dropped] += 1
            self.positives_dropped += len(row.positive_passages)
            return
        self.rows_out += 1
        self.rows_changed += not change.is_unchanged
        self.rows_without_negatives += not change.kept
        self.positives += len(row.positive_passages) + len(change.moved)
        self.negatives += len(change.kept)
        self.moved += len(change.moved)

    @classmethod
    def summed(cls, parts: Iterable[ConfigCounts]) -> ConfigCounts:
        total = cls()
        for part in parts:
            for name, number in asdict(part).items():
                if isinstance(number, dict):
                    reasons = getattr(total, name)
                    setattr(total, name, {reason: reasons[reason] + more for reason, more in number.items()})
                else:
                    setattr(total, name, getattr(total, name) + number)
        return total

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class VerdictCounts:
    """What was concluded about the candidates, and what each stage of the cascade said.

    Attributes:
        candidates: negatives of all rows.
        outcomes: candidates by (outcome, reason).
        failures: candidates without an outcome because the last judge to see them failed or was not understood.
        stages: per stage, candidates by label; "not-asked" where the stage did not see them.
        tokens: per stage, prompt and completion tokens, as far as its judge's server counted them. Each candidate has
            a share of its prompt's. They are added up exactly, so that the sum is that of any parts' sums.
        cut: per stage, candidates that were judged on a part of their text or of the query's, as it was too long.
        agreement: for each two stages that follow each other, the candidates both answered, by whether the first and
            whether the second said `better`.
        false_negatives_per_row: rows by their number of false negatives, duplicates included (PAPER: 58 % of the
            affected rows have one).
    """

    candidates: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: dict[str, Counter[str]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Fraction]] = field(default_factory=dict)
    cut: Counter[str] = field(default_factory=Counter)
    agreement: dict[tuple[str, str], Counter[tuple[bool, bool]]] = field(default_factory=dict)
    false_negatives_per_row: Counter[int] = field(default_factory=Counter)

    def add(self, verdicts: Sequence[Verdict], stage_names: Sequence[str]) -> None:
        self.candidates += len(verdicts)
        self.outcomes.update((verdict.outcome.value, verdict.reason) for verdict in verdicts)
        self.false_negatives_per_row[sum(verdict.is_false_negative for verdict in verdicts)] += 1
        for index, name in enumerate(stage_names):
            answers = [verdict.stages[index] if index < len(verdict.stages) else None for verdict in verdicts]
            labels = ["not-asked" if answer is None else answer.label.value for answer in answers]
            self.stages.setdefault(name, Counter()).update(labels)
            self._add_tokens(name, [answer for answer in answers if answer is not None])
        for verdict in verdicts:
            self._add_agreement(verdict, stage_names)

    def _add_tokens(self, name: str, answers: Sequence[Judgement]) -> None:
        tokens = self.tokens.setdefault(name, {"prompt": Fraction(), "completion": Fraction()})
        tokens["prompt"] += Fraction(sum(answer.prompt_tokens or 0.0 for answer in answers))
        tokens["completion"] += Fraction(sum(answer.completion_tokens or 0.0 for answer in answers))
        self.cut[name] += sum(answer.cut for answer in answers)

    def _add_agreement(self, verdict: Verdict, stage_names: Sequence[str]) -> None:
        for names, (first, second) in zip(pairwise(stage_names), pairwise(verdict.stages), strict=False):
            answers = self.agreement.setdefault(names, Counter())
            if first is not None and second is not None and first.label.is_answer and second.label.is_answer:
                answers[first.label is Label.BETTER, second.label is Label.BETTER] += 1

    @classmethod
    def summed(cls, parts: Iterable[VerdictCounts]) -> VerdictCounts:
        total = cls()
        for part in parts:
            total.candidates += part.candidates
            total.outcomes.update(part.outcomes)
            total.false_negatives_per_row.update(part.false_negatives_per_row)
            for name, labels in part.stages.items():
                total.stages.setdefault(name, Counter()).update(labels)
            for name, tokens in part.tokens.items():
                sums = total.tokens.setdefault(name, {"prompt": Fraction(), "completion": Fraction()})
                for kind, number in tokens.items():
                    sums[kind] += number
            total.cut.update(part.cut)
            for names, answers in part.agreement.items():
                total.agreement.setdefault(names, Counter()).update(answers)
        return total

    @property
    def failures(self) -> dict[str, int]:
        unjudged = str(Outcome.UNJUDGED)
        return {str(label): self.outcomes[unjudged, str(label)] for label in (Label.FAILED, Label.UNPARSABLE)}

    @property
    def affected_rows(self) -> int:
        """Rows with at least one false negative."""
        return sum(rows for number, rows in self.false_negatives_per_row.items() if number)

    def to_dict(self) -> dict[str, Any]:
        outcomes: dict[str, dict[str, int]] = {str(outcome): {} for outcome in Outcome}
        for (outcome, reason), number in self.outcomes.items():
            outcomes[outcome][reason] = number
        return {
            "candidates": self.candidates,
            "outcomes": outcomes,
            "failures": self.failures,
            "stages": {name: dict(labels) for name, labels in self.stages.items()},
            "tokens": {
                name: {kind: round(float(number), 3) for kind, number in kinds.items()}
                for name, kinds in self.tokens.items()
            },
            "cut": dict(self.cut),
            "agreement": [
                {
                    "first": first,
                    "second": second,
                    "both": answers[True, True],
                    "only_first": answers[True, False],
                    "only_second": answers[False, True],
                    "neither": answers[False, False],
                }
                for (first, second), answers in self.agreement.items()
            ],
            "rows_with_false_negatives": self.affected_rows,
            "false_negatives_per_row": {str(number): rows for number, rows in self.false_negatives_per_row.items()},
        }


def by_subset(subsets: Mapping[str, ConfigCounts] | Mapping[str, VerdictCounts], total: Any) -> dict[str, Any]:
    """Counts as plain values: the total and each subset's."""
    return {"total": total.to_dict(), "subsets": {name: counts.to_dict() for name, counts in subsets.items()}}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One Parquet file. `path` is relative to the folder, with forward slashes."""

    path: str
    bytes: int
    rows: int
    sha256: str


def file_entry(path: Path, name: str, rows: int) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(path=name, bytes=path.stat().st_size, rows=rows, sha256=digest)


def make_manifest(
    *,
    settings: Mapping[str, Any],
    rows: Mapping[str, int],
    configs: Mapping[str, Any],
    verdicts: Mapping[str, Any],
    files: Iterable[FileEntry],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Put a manifest together.

    Args:
        extra: the caller's own entries (source, judges, prompt hashes, …), put beside ours.

    Raises:
        BuildError: an entry of `extra` has the name of one of ours.
    """
    ours: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "tool": {"name": "hf-relabel", "version": package_version("hf-relabel")},
        "packages": {name: package_version(name) for name in PACKAGES},
        "settings": dict(settings),
        "rows": dict(rows),
        "configs": dict(configs),
        "verdicts": dict(verdicts),
        "files": {entry.path: {"bytes": entry.bytes, "rows": entry.rows, "sha256": entry.sha256} for entry in files},
    }
    taken = sorted(ours.keys() & extra.keys())
    if taken:
        raise BuildError(f"manifest_extra may not hold {', '.join(map(repr, taken))}: the manifest has its own.")
    return ours | dict(extra)


def manifest_text(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of manifest.json: keys sorted, one way of spacing, so that equal manifests are equal files."""
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # A file name that is not Unicode gives lone surrogates; backslashreplace writes them as JSON escapes.
    return (text + "\n").encode("utf-8", "backslashreplace")


def read_manifest(folder: Path, *, any_version: bool = False) -> dict[str, Any]:
    """The manifest of a folder that `write_configs` wrote.

    Args:
        any_version: take manifests of other format versions too, of which only `files` can be relied on.

    Raises:
        BuildError: there is none, or it is not one of ours.
    """
    path = folder / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BuildError(f"{folder} has no readable {MANIFEST_NAME}: hf-relabel did not write it ({error}).") from error
    if not isinstance(manifest, dict) or not {"files", "format_version"} <= manifest.keys():
        raise BuildError(f"{path} is not a manifest of hf-relabel.")
    if not any_version and manifest.get("format_version") != FORMAT_VERSION:
        raise BuildError(
            f"{path} has format version {manifest.get('format_version')!r}, this version of hf-relabel reads "
            f"{FORMAT_VERSION}. Build the folder again, or install the version that wrote it."
        )
    return manifest


def is_ours(folder: Path) -> bool:
    """Whether a folder may be replaced: it is empty, or holds a build or a release.

    Raises:
        BuildError: its manifest is not one of ours.
    """
    if not any(folder.iterdir()):
        return True
    return (folder / MANIFEST_NAME).is_file() and bool(read_manifest(folder, any_version=True))


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
