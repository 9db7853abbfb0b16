"""What lies in the folder of a build already: it is not replaced by a build of something else unless that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.configs.manifest import MANIFEST_NAME, read_manifest
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.messages.spelling import argument

_PARTS = ("config", "split", "subset")
"""What tells parts of a source from another; with its name, one source from another. The rows of a file, a sample or a
limit may change from build to build."""

Described = Mapping[str, Any]
"""A source, or a run, as a manifest tells it."""


def refuse_other_build(
    folder: Path,
    source: Described,
    fingerprint: Callable[[], str | None],
    knows_run: Callable[[Described], bool],
    journal: str,
) -> None:
    """Whether a folder may be replaced by a build of this source with the judgements of this journal.

    Args:
        source: as the manifest will tell it.
        fingerprint: what identifies its content. Asked only where its name does not say enough: all of it is read.
        knows_run: whether the run that the folder was built from is one of the journal's.
        journal: its name, for the message.

    Raises:
        BuildError: the folder was built from another source, or from judgements that the journal does not have.
    """
    if not (folder / MANIFEST_NAME).is_file():
        return
    there = read_manifest(folder, any_version=True)
    lies, run = there.get("source"), there.get("run")
    if not isinstance(lies, dict) or not isinstance(run, dict):
        return  # it does not say what it was built from
    remedy = f"Give another folder, or {argument('overwrite', True)} to replace it."
    if not _is_same(lies, source, fingerprint):
        one, other = source_told(lies), source_told(source)
        other = other if one != other else "other rows"
        raise BuildError(f"{folder} holds a build of {one}, and this is one of {other}. {remedy}")
    if not knows_run(run):
        judges = ", ".join(stage.describe() for stage in stages_of_run(run))
        raise BuildError(
            f"{folder} holds a build from other judgements: those of {judges}, and {journal} has no such run. {remedy}"
        )


def _is_same(one: Described, other: Described, fingerprint: Callable[[], str | None]) -> bool:
    if any((one.get(part) or None) != (other.get(part) or None) for part in _PARTS):
        return False
    # Objects in memory have no name of their own, only rows.
    if one.get("files") and one.get("name") == other.get("name"):
        return True
    return one.get("fingerprint") is not None and one["fingerprint"] == fingerprint()


def source_told(source: Described) -> str:
    """A source in a message: its name, and the part of it that was read."""
    name, *others = (source.get(part) for part in ("name", *_PARTS))
    found = [", ".join(map(str, part)) if isinstance(part, list) else str(part) for part in others if part]
    return f"{name} ({', '.join(found)})" if found else str(name)
