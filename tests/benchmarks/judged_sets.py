"""Sets whose false negatives are known: their configs, and vectors of their texts that several judges share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.registry import make_judge
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage

STEPS = {
    "banking77": 200,
    **dict.fromkeys(("banking77-71", "banking77-142", "banking77-284"), 60),
    "banking77-568": 100,
    "banking77-1136": 150,
    "classic": 60,
    "wordnet": 200,
    "wordnet-300": 60,
    "wordnet-verbs": 60,
    "wordnet-siblings": 200,
}
"""Of the static student: few rows, few steps."""
NO_LIMIT = 1_000


def built_by(stage_judge: str, folder: Path, scratch: Path, **settings: object) -> Release:
    """Judge `rows.jsonl` and build all configs, without a limit on false negatives per row."""
    source = open_source(folder / "rows.jsonl")
    out = scratch / f"{folder.name}-{stage_judge}"
    with Journal(scratch / f"{out.name}.sqlite") as journal:
        judge(source, [Stage(stage_judge, make_judge(stage_judge, **settings))], journal)
        build_configs(source, journal, BuildSettings(out=str(out), limit=NO_LIMIT))
    return release_from_folder(out)


def built_from_truth(folder: Path, scratch: Path) -> Release:
    """With `truth.jsonl` for a judge."""
    return built_by("truth", folder, scratch, file=str(folder / "truth.jsonl"))


ENCODED_AT_ONCE = 256


@contextmanager
def vectors_kept(file: Path) -> Iterator[None]:
    """Within it no bi-encoder encodes a text twice, and what it encoded is in `file` the next time. Of one model only.

    Judges of quality need no fresh vectors, and on one core those of some thousand abstracts take a quarter of an hour.
    """
    known: dict[tuple[str, str], Any] = {}
    if file.exists():
        held = np.load(file)
        known = dict(zip(map(tuple, held["texts"].tolist()), held["vectors"], strict=True))
    before, encode = len(known), SimilarityJudge._encode

    def remembered(self: SimilarityJudge, texts: list[str], side: Any) -> Any:
        unique = list(dict.fromkeys(self._cut(text) for text in texts))
        missing = [text for text in unique if (side, text) not in known]
        for start in range(0, len(missing), ENCODED_AT_ONCE):
            found = encode(self, missing[start : start + ENCODED_AT_ONCE], side)
            known.update({(side, text): vector for text, vector in found.items()})
        return {text: known[side, text] for text in unique}

    try:
        with patch.object(SimilarityJudge, "_encode", remembered):
            yield
    finally:
        if len(known) > before:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, texts=np.array(list(known)), vectors=np.stack(list(known.values())))
