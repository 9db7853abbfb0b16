"""What a comparison speaks for goes into the release: evidence, default config, and the threshold of its zones."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_relabel.builders.configs.evidence import with_evidence, write_evidence
from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.building.rebuild import rebuild_configs, settings_of
from hf_relabel.trainers.comparing.zone_arms import ZONES

if TYPE_CHECKING:
    from hf_relabel.trainers.comparing.compare import CompareReport


@dataclass(frozen=True)
class Adopted:
    """What was done.

    Attributes:
        place: where the outcome was written; None where it was not.
        note: what else there is to say, such as how to do what was not done.
    """

    place: str | None
    note: str = ""

    def to_text(self, config: str) -> str:
        written = "" if self.place is None else f"Written to {self.place}; its default config is {config}."
        return " ".join(filter(None, (written, self.note)))


def adopt_in_folder(folder: Path, report: CompareReport) -> Adopted:
    """Write the outcome into a built folder. Where an arm with other zones won, the folder is built anew with these."""
    note = ""
    if report.zones_at is not None:
        release = release_from_folder(folder)
        if "formats" in release.manifest:
            return Adopted(None, _by_hand(folder, report, release.manifest["formats"]["format"]))
        _move(release, folder, report.zones_at)
        note = _moved(report)
    write_evidence(folder, "compare", report.evidence(), default=report.config)
    return Adopted(str(folder), note)


def adopt_on_hub(release: Release, name: str, report: CompareReport, *, push_it: bool) -> Adopted:
    """The same of a release on the Hub, as a new version, where it is to be pushed.

    Args:
        name: `user/repo`, with a revision or without.
    """
    from dataclasses import replace

    from hf_relabel.hub_tools.releases.push import push

    repo = name.partition("@")[0]
    if not push_it:
        how = f"Nothing was written: the same command with --push builds it with {report.chosen} and releases that."
        return Adopted(None, "" if report.zones_at is None else how)
    if report.zones_at is None:
        manifest = with_evidence(release.manifest, "compare", report.evidence(), default=report.config)
        pushed = push(replace(release, manifest=manifest), repo)
        return Adopted(f"{pushed.repo_id}@{pushed.version}")
    with tempfile.TemporaryDirectory(prefix="hf-relabel-zones-") as scratch:
        folder = Path(scratch) / "moved"
        _move(release, folder, report.zones_at)
        write_evidence(folder, "compare", report.evidence(), default=report.config)
        pushed = push(folder, repo)
    return Adopted(f"{pushed.repo_id}@{pushed.version}", _moved(report))


def _move(release: Release, folder: Path, at: float) -> None:
    """Build all configs of a release anew, with a sure zone that begins at a calibrated probability."""
    techniques = tuple(dict.fromkeys((*release.manifest["settings"]["techniques"], ZONES)))
    rebuild_configs(release, settings_of(release, str(folder), techniques=techniques, default=ZONES, zones_at=at))
    audit = (release.manifest.get("evidence") or {}).get("audit")
    if audit is not None and not audit.get("calibrated"):  # one of the thresholds' verdicts is of others than these
        write_evidence(folder, "audit", audit)


def _moved(report: CompareReport) -> str:
    return (
        f"Its thresholds moved: {ZONES} and all that follows from verdicts is built anew, and relabels from a"
        f" calibrated probability of {report.zones_at:g} on."
    )


def _by_hand(folder: Path, report: CompareReport, format: str) -> str:
    return (
        f"Nothing was written: {report.chosen} won, and {folder} holds files of another format too, which need the"
        f" source. `{program()} build SOURCE --out {folder} --calibration FILE --zones-at {report.zones_at:g}"
        f" --output-format {format}` builds it so; then compare again, which trains nothing that is kept."
    )
