"""What changed between two releases, as a report and as a data set.

The comparison itself is in hf_relabel.builders.differences.compare: this opens the two sides and shows what came out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.differences.compare import differences
from hf_relabel.builders.differences.counts import (
    ROW_ADDED,
    ROW_CHANGED,
    ROW_DROPPED,
    Difference,
    DifferenceCounts,
    Side,
)
from hf_relabel.builders.differences.folder import changes_folder
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.releases.opening import open_release
from hf_relabel.hub_tools.releases.shown import shown

MOST_LINES = 30
"""Lines of a table in the report; the rest is in `to_dict`."""


@dataclass(frozen=True, repr=False)
class DiffReport(Shown):
    """What changed from `before` to `after`.

    Attributes:
        before, after: name and revision of the releases (the revision is None for a folder).
        counts: see hf_relabel.builders.differences.counts.DifferenceCounts.
        examples: the first changes.
        folder: where all changes were written, None if nowhere.
    """

    before: tuple[str, str | None]
    after: tuple[str, str | None]
    counts: DifferenceCounts
    examples: Sequence[Difference] = ()
    folder: Path | None = None

    @property
    def differ(self) -> bool:
        return self.counts.differ

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values. The same two releases give the same, whatever the order of their rows."""
        sides = {"before": self.before, "after": self.after}
        named = {side: {"name": name, "revision": revision} for side, (name, revision) in sides.items()}
        return {"format_version": 1, **named, **self.counts.to_dict()}

    def to_text(self) -> str:
        """The counts as tables, and the first changes."""
        title = f"{shown(self.before[0])} → {shown(self.after[0])}"
        rows, candidates = self.counts.total_rows, self.counts.total_candidates
        if not self.differ:
            return f"{title}\n\nNo differences: {counted(rows.after, 'row')}, {counted(candidates.after, 'candidate')}."
        parts = [title, _subsets_table(self.counts), _changed_rows(self.counts), _configs_table(self.counts)]
        if candidates.verdict_changed:
            parts += [_transitions_table(self.counts), _judges_table(self.counts)]
        if candidates.labels_only:
            parts.append(
                f"{counted(candidates.labels_only, 'candidate has', 'candidates have')} another label from some judge,"
                " the verdict is equal."
            )
        if self.examples:
            parts.append("\n".join(["First changes:", *map(_line, self.examples)]))
        return "\n\n".join(part for part in parts if part)


@expects(before=(str, PathLike, "Release"), after=(str, PathLike, "Release"))
def diff(
    before: str | Path | Release,
    after: str | Path | Release,
    *,
    out: str | Path | None = None,
    examples: int = 10,
    token: str | bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> DiffReport:
    """Compare two releases row by row and verdict by verdict, in bounded memory.

    Example:
            print(diff("user/repo@v1.0.0", "user/repo@v1.1.0").to_text())

    Args:
        before, after: folders that were built or pulled, or releases on the Hub: `user/repo`, `user/repo@revision`.
        out: a folder for all changes, one line each, that `load_dataset(out, "diff")` loads.
        examples: changes to keep in the report.
        progress: called with the rows read so far, of both sides together.

    Raises:
        ReleaseError: there is no such release on the Hub, or it may not be read.
        BuildError: a folder is not one of ours, `original` and `verdicts` of a side do not fit, or `out` is not ours
            to replace.
    """
    old, new = (side if isinstance(side, Release) else open_release(side, token=token) for side in (before, after))
    counts = DifferenceCounts()
    changes = differences(side_of(old), side_of(new), counts, progress=progress)
    first: list[Difference] = []
    report = DiffReport(
        (old.name, old.revision), (new.name, new.revision), counts, first, None if out is None else Path(out)
    )
    kept = _first_kept(changes, first, examples)
    if out is None:
        for _ in kept:
            pass
    else:
        changes_folder(Path(out), kept, report.to_dict)
    return report


def side_of(release: Release) -> Side:
    """A release as one side of a comparison.

    Raises:
        BuildError: its manifest does not say how it was built.
    """
    known = [str(technique) for technique in Technique]
    try:
        settings = release.manifest["settings"]
        stages, techniques = list(settings["stages"]), list(settings["techniques"])
        limit, min_negatives = int(settings["limit"]), int(settings.get("min_negatives", 0))
    except (KeyError, TypeError, ValueError) as error:
        raise BuildError(f"{release.name}: its manifest.json does not say how it was built ({error}).") from error
    return Side(
        judged_rows=release.judged_rows(),
        stages=_stages(release, stages),
        techniques=[Technique(name) for name in techniques if name in known],
        limit=limit,
        min_negatives=min_negatives,
    )


def _stages(release: Release, names: Sequence[str]) -> list[tuple[str, str | None]]:
    """The stages with their judges, as the first line of the verdicts that went through the cascade names them."""
    for record in release.verdict_records():
        judges = {stage["stage"]: stage["judge"] for stage in record["stages"]}
        if judges:
            return [(name, judges.get(name)) for name in names]
    return [(name, None) for name in names]


def _first_kept(changes: Iterator[Difference], first: list[Difference], number: int) -> Iterator[Difference]:
    for change in changes:
        if len(first) < number:
            first.append(change)
        yield change


def _subsets_table(counts: DifferenceCounts) -> str:
    """A line for each subset, those with the most changes first, and the total."""
    lines = []
    for name in counts.rows:
        rows, candidates = counts.rows[name], counts.candidates[name]
        changes = rows.added + rows.dropped + rows.changed + candidates.verdict_changed
        lines.append((changes, name, _subset_line(shown(name) or "(none)", rows, candidates)))
    lines.sort(key=lambda line: (-line[0], line[1]))
    total = _subset_line("total", counts.total_rows, counts.total_candidates)
    table = _table([*(line for _, _, line in lines[:MOST_LINES]), *([total] if len(lines) > 1 else [])])
    return f"{table}{_and_more(len(lines), 'subsets')}"


def _subset_line(name: str, rows: Any, candidates: Any) -> dict[str, Any]:
    return {
        "subset": name,
        "rows": _from_to(rows.before, rows.after),
        "added": rows.added,
        "dropped": rows.dropped,
        "changed": rows.changed,
        "candidates": _from_to(candidates.before, candidates.after),
        "verdicts changed": candidates.verdict_changed,
        "false negatives": _from_to(candidates.false_negatives_before, candidates.false_negatives_after),
    }


def _changed_rows(counts: DifferenceCounts) -> str:
    fields = ", ".join(f"{number} {name}" for name, number in counts.to_dict()["fields"].items() if number)
    return f"Changed rows differ in: {fields}." if fields else ""


def _configs_table(counts: DifferenceCounts) -> str:
    lines = [
        {
            "config": name,
            "rows": _from_to(rows.before, rows.after),
            "added": rows.added,
            "dropped": rows.dropped,
            "changed": rows.changed,
        }
        for name, rows in counts.configs.items()
    ]
    return _table(lines)


def _transitions_table(counts: DifferenceCounts) -> str:
    """Outcomes before by outcomes after."""
    transitions = counts.to_dict()["transitions"]
    columns = sorted({new for line in transitions.values() for new in line})
    lines = [
        {"verdict before": old, **{f"→ {new}": line.get(new, "") for new in columns}}
        for old, line in transitions.items()
    ]
    return _table(lines)


def _judges_table(counts: DifferenceCounts) -> str:
    """Who said something else: the changed verdicts by stage, judge and label, the most frequent first."""
    lines = [
        {
            "stage": shown(entry["stage"]),
            "judge": _from_to(*(shown(entry[name] or "none") for name in ("judge_before", "judge_after"))),
            "label": _from_to(*(entry[name] or "not asked" for name in ("label_before", "label_after"))),
            "verdicts changed": entry["candidates"],
        }
        for entry in counts.to_dict()["by"]
    ]
    if counts.rule:
        lines.append({"stage": "(rule)", "judge": "", "label": "", "verdicts changed": counts.rule})
    lines.sort(key=lambda line: -line["verdicts changed"])
    return f"{_table(lines[:MOST_LINES])}{_and_more(len(lines), 'lines')}"


def _line(change: Difference) -> str:
    """One change in one line."""
    number = change.row_before if change.row_after is None else change.row_after
    place = f"  row {number}, {shown(change.query_id)}" + (f" ({shown(change.subset)})" if change.subset else "")
    if change.kind in (ROW_ADDED, ROW_DROPPED):
        return f"{place}: {change.kind.removeprefix('row_')}"
    if change.kind == ROW_CHANGED:
        return f"{place}: changed {', '.join(change.fields)}"
    by = "; ".join(
        f"{shown(label.stage)}: {label.label_before or 'not asked'} → {label.label_after or 'not asked'}"
        for label in change.by
    )
    before, after = (
        _verdict(change.outcome_before, change.reason_before),
        _verdict(change.outcome_after, change.reason_after),
    )
    return f"{place}, {shown(change.docid or '')}: {before} → {after} ({by or 'rule'})"


def _verdict(outcome: str | None, reason: str | None) -> str:
    return f"{outcome}" if reason == "judged" else f"{outcome} [{shown(reason or '')}]"


def _from_to(before: Any, after: Any) -> str:
    return f"{before}" if before == after else f"{before} → {after}"


def _and_more(number: int, what: str) -> str:
    return f"\n… and {number - MOST_LINES} more {what}, which its JSON lists." if number > MOST_LINES else ""


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    return text_table([dict(line) for line in lines], disable_numparse=True) if lines else ""
