"""Evaluation sets by name, as the command line takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.sources.paths import did_you_mean_beside
from hf_relabel.trainers.evaluation.sets import RetrievalSet

NANO_BEIR, AIR_BENCH = "nanobeir", "air-bench"


def open_sets(names: Sequence[str]) -> list[RetrievalSet]:
    """Open evaluation sets.

    Args:
        names: BEIR folders (`folder`, or `folder:dev` for another split than test), `nanobeir` for all of NanoBEIR or
            `nanobeir:scifact` for one of it, `air-bench:qa/healthcare/en` for one of AIR-Bench.

    Raises:
        ConfigError, SourceError: there is no such set, or it cannot be read.
    """
    return [found for name in names for found in _open(name)]


def _open(name: str) -> list[RetrievalSet]:
    from hf_relabel.trainers.evaluation.beir import read_beir
    from hf_relabel.trainers.evaluation.hub_sets import air_bench, nano_beir, nano_beir_names

    if Path(name).is_dir():
        return [read_beir(name)]
    kind, _, rest = name.partition(":")
    if kind == NANO_BEIR:
        return [nano_beir(each) for each in ([rest] if rest else nano_beir_names())]
    if kind == AIR_BENCH and rest.count("/") == 2:
        task, domain, language = rest.split("/")
        return [air_bench(task, domain, language)]
    folder, _, split = name.rpartition(":")
    if folder and Path(folder).is_dir():
        return [read_beir(folder, split=split)]
    near = did_you_mean(kind, (NANO_BEIR, AIR_BENCH)) or did_you_mean_beside(Path(name))
    raise ConfigError(
        f"There is no evaluation set {name!r}.{near} Give a BEIR folder (corpus.jsonl, queries.jsonl, qrels/),"
        " `nanobeir`, `nanobeir:scifact` or `air-bench:qa/healthcare/en`."
    )
