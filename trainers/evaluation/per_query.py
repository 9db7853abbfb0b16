"""What a model measured query by query, kept in the folder of its run: what comparisons and intervals are made of."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation.evaluator import Evaluation

PER_QUERY_NAME = "per_query.json.gz"
SCHEMA_VERSION = 1

PerQuery = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By set, then by metric: the value of each query."""


def write_per_query(folder: Path, done: Sequence[Evaluation]) -> Path:
    """Write the values of each set: its queries once, then a list for each metric. The same values give the same
    bytes."""
    sets: dict[str, Any] = {}
    for each in done:
        values = list(each.per_query.values())
        metrics = {name: [one[name] for one in values] for name in each.measured.metrics}
        sets[each.measured.set.name] = {"queries": list(each.per_query), "metrics": metrics}
    content = json.dumps({"schema_version": SCHEMA_VERSION, "sets": sets}, separators=(",", ":"))
    path = folder / PER_QUERY_NAME
    with written_whole(path) as file:
        file.write(gzip.compress(content.encode(), mtime=0))
    return path


def read_per_query(folder: Path) -> PerQuery:
    """Read them. None are in the folder of a run of before this was kept.

    Raises:
        ConfigError: the file is of a later version, or is none of ours.
    """
    path = folder / PER_QUERY_NAME
    if not path.is_file():
        return {}
    try:
        found = json.loads(gzip.decompress(path.read_bytes()).decode())
        version, sets = found["schema_version"], found["sets"]
        if version > SCHEMA_VERSION:
            raise ConfigError(f"{path} is of version {version}, and this release reads {SCHEMA_VERSION}. Upgrade it.")
        return {
            name: {
                metric: dict(zip(each["queries"], values, strict=True)) for metric, values in each["metrics"].items()
            }
            for name, each in sets.items()
        }
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}). Delete it, or train anew.") from error
