"""What a build says besides its counts: what went with the earlier build, and what surprises when it is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.manifest import MANIFEST_NAME, read_manifest
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.techniques import Dropped, Technique


def gone_configs(folder: Path, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The configs, and the files of other formats, that a folder has and a new build of it does not.

    Args:
        folder: with the earlier build, or none.
        manifest: of the new one.
    """
    if not (folder / MANIFEST_NAME).is_file():
        return ()
    stays = set(_parts(manifest))
    return tuple(part for part in _parts(read_manifest(folder, any_version=True)) if part not in stays)


def build_notes(manifest: Mapping[str, Any], gone: Sequence[str]) -> Iterator[str]:
    """The notes, each a line.

    Args:
        gone: what `gone_configs` gives.
    """
    if gone:
        yield f"The build that was here before had more: {', '.join(gone)}. That is gone."
    totals = {name: manifest["configs"][name]["total"] for name in manifest["settings"]["techniques"]}
    without = {name: total["rows_without_negatives"] for name, total in totals.items()}
    if bare := [f"{counted(rows, 'row')} of {name}" for name, rows in without.items() if rows]:
        emptied = without.get(Technique.RELABEL_FILTER, 0) - without.get(Technique.RELABEL, 0)
        keep = f" {argument('min_negatives', 1)} keeps what is doubtful in those that the filter emptied."
        yield f"Without any negative: {', '.join(bare)}.{keep if emptied > 0 else ''}"
    zones = ((manifest.get("evidence") or {}).get("zones") or {}).get("zones") or {}
    if zones and zones["sure"] is None:
        each = f" and of each candidate a probability of {zones['least']:g}" if zones.get("least") else ""
        yield (
            f"By the calibration no score is backed to hold a precision of {zones['wanted']:.3g}{each}: nothing was"
            f" relabelled by it.{_without_sure(totals)}"
        )


def _without_sure(totals: Mapping[str, Mapping[str, Any]]) -> str:
    """What is left out where no candidate is surely a false negative; nothing of configs that were not built."""
    told = []
    if Technique.REMOVE_HN in totals:
        copies = totals[Technique.REMOVE_HN]["dropped"].get(Dropped.DUPLICATE, 0)
        told.append(f"by remove-hn only {counted(copies, 'copy', 'copies')} of positives")
    if Technique.RELABEL_FILTER in totals:
        doubtful = totals[Technique.RELABEL_FILTER]["dropped"].get(Dropped.DOUBTFUL, 0)
        told.append(f"by relabel-filter {counted(doubtful, 'doubtful negative')} besides")
    return f" Left out: {', '.join(told)}." if told else ""


def _parts(manifest: Mapping[str, Any]) -> list[str]:
    configs = dict.fromkeys(path.split("/")[0] for path in manifest["files"])
    return [*configs, *(manifest.get("formats") or {}).get("files", ())]
