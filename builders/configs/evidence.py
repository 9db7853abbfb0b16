"""What backs the default config of a release: kept in its manifest, shown on its card.

`manifest["evidence"]` maps the kind of evidence (`compare`) to plain values. Nothing in it depends on when or where it
was measured, so that the same figures make the same release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.manifest import MANIFEST_NAME, manifest_text, read_manifest
from hf_relabel.builders.disk.atomic_folder import new_folder
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.readme.configs_readme import readme_text
from hf_relabel.builders.techniques import Technique

README_NAME = "README.md"


def with_evidence(
    manifest: Mapping[str, Any], kind: str, evidence: Mapping[str, Any], *, default: str | None = None
) -> dict[str, Any]:
    """The manifest with this evidence, in place of earlier evidence of its kind.

    Args:
        default: the config that the evidence speaks for; None leaves the default as it is.

    Raises:
        ConfigError: that config is not among those built.
    """
    settings = dict(manifest["settings"])
    if default is not None:
        if default not in settings["techniques"]:
            built = ", ".join(settings["techniques"])
            raise ConfigError(f"The default config {default!r} is not among those built: {built}.")
        settings["default_config"] = default
    return {**manifest, "settings": settings, "evidence": {**(manifest.get("evidence") or {}), kind: dict(evidence)}}


def write_evidence(folder: Path, kind: str, evidence: Mapping[str, Any], *, default: str | None = None) -> bool:
    """Put evidence into the manifest and the README.md of a built folder. Returns whether anything changed.

    The folder is replaced by one that has both anew and all else as it was, so that the two never disagree.

    Raises:
        BuildError: it is no built folder, or cannot be written.
        CardError: its README.md cannot be merged with.
        ConfigError: the default config is not among those built.
    """
    earlier = read_manifest(folder)
    manifest = with_evidence(earlier, kind, evidence, default=default)
    path = folder / README_NAME
    readme = path.read_bytes().decode("utf-8") if path.is_file() else None
    contents = {README_NAME: readme_text(manifest, readme).encode(), MANIFEST_NAME: manifest_text(manifest)}
    if all((folder / name).is_file() and (folder / name).read_bytes() == new for name, new in contents.items()):
        return False
    with new_folder(folder, is_ours=lambda _: True) as building, building.disk_errors():
        for name, content in contents.items():
            building.write(name, content)
        building.keep_others(ours=())
    return True


LEAST_PRECISION = 0.95
"""Lower bound of a judge's audited precision from which relabelling is backed. At a precision of .9 relabelling was
worse than doing nothing on one of the two sets it was measured on, at 1 it was the best."""


def audited_default(manifest: Mapping[str, Any], audit: Mapping[str, Any]) -> tuple[str, str]:
    """The default config that follows from an audit, and why.

    Where the configs were compared it is what that speaks for. Of a build by thresholds it stays what the build has:
    the audit that they were fitted on says nothing new of them. Only an audit of their own verdicts can speak against
    them, and does where the precision of what they relabel lies below the wanted one, its whole interval. Else the
    audited precision decides between `relabel` and `remove-hn`.

    Args:
        audit: as `AuditReport.to_dict` gives it.
    """
    evidence, settings = manifest.get("evidence") or {}, manifest["settings"]
    built, now, zones = settings["techniques"], str(settings["default_config"]), evidence.get("zones")
    compared = evidence.get("compare")
    if compared is not None:
        return str(compared["chosen"]), "that is what the comparison of the configs speaks for"
    precision = relabelled_precision(zones, audit)
    if zones is not None and Technique.RELABEL_FILTER in built:
        return _zoned_default(now, built, precision, zones["zones"]["wanted"], audited=bool(audit.get("calibrated")))
    low = precision["low"]
    is_backed = low is not None and low >= LEAST_PRECISION
    backed = str(Technique.RELABEL if is_backed else Technique.REMOVE_HN)
    found = "is not known" if low is None else f"is {low:.3f} or more by its interval"
    why = f"the precision of what is relabelled {found}, relabelling needs {LEAST_PRECISION:g}"
    return (backed, why) if backed in built else (now, f"{why}; {backed} is not built")


def _zoned_default(
    now: str, built: Sequence[str], precision: Mapping[str, float | None], wanted: float, *, audited: bool
) -> tuple[str, str]:
    """That of a build by thresholds. `audited` is whether the audit is of their verdicts."""
    high = precision["high"]
    relabels = now in (Technique.RELABEL, Technique.RELABEL_FILTER)
    if relabels and audited and high is not None and high < wanted:
        safe = next((str(name) for name in (Technique.REMOVE_HN, Technique.ORIGINAL) if name in built), now)
        return safe, (
            f"what the thresholds relabel has a precision of {precision['value']:.3f} [{precision['low']:.3f},"
            f" {high:.3f}], below the {wanted:.3g} that was wanted. Fit them again"
        )
    return now, "its thresholds decide, and nothing in this audit speaks against them"


def relabelled_precision(zones: Mapping[str, Any] | None, audit: Mapping[str, Any]) -> Mapping[str, float | None]:
    """The audited precision of what is relabelled, `{value, low, high}`; None where nothing is, or nobody answered.

    It is that of the verdict, unless thresholds decide and the audited verdict is still that of the judges' labels:
    then it is that of the sure zone. Of that no more is believed than the precision that was wanted: the labels chose
    the threshold, and what they say beyond that is luck as well.
    """
    if zones is None or audit.get("calibrated"):
        precision: Mapping[str, float | None] = audit["verdict"]["precision"]
        return precision
    sure = zones["zones"]["precision"]
    if sure is None:
        return {"value": None, "low": None, "high": None}
    return {**sure, "low": min(sure["low"], zones["zones"]["wanted"])}
