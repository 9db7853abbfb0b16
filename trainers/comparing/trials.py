"""The runs of a comparison: each trained and measured once, and kept in a folder that several processes may share."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.disk.one_process import one_process
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.evaluation.evaluator import evaluate_model
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.recipes.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """One thing that is compared.

    Attributes:
        name: such as `relabel`, or `relabel+distillation`.
        data: gives the rows it trains on.
    """

    name: str
    config: str
    recipe: Recipe
    data: Callable[[], TrainingData]


@dataclass(frozen=True)
class Trial:
    """One run: one arm with one seed."""

    arm: Arm
    data: TrainingData
    seed: int
    sets: tuple[RetrievalSet, ...]
    metric: str
    depth: int
    device: str | None

    def key(self) -> str:
        """What changes when the outcome would. Arms that train the same on the same rows share a run."""
        values = [
            self.arm.recipe.model_dump(mode="json"),
            self.data.fingerprint,
            self.seed,
            self.metric,
            self.depth,
            [[each.about.model_dump(mode="json"), _digest(each)] for each in self.sets],
        ]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def kept_in(folder: str | Path | None) -> Iterator[Path]:
    """The folder of the runs, a temporary one if there is none."""
    if folder is not None:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hf-relabel-compare-") as scratch:
        yield Path(scratch)


def outcome(trial: Trial, runs: Path, *, busy: Callable[[], None]) -> dict[str, Any]:
    """What a run measured: as it was kept, else by running it.

    Args:
        busy: called where another process makes this very run; what it finds is waited for.
    """
    kept = runs / f"{trial.key()}.json"
    if not kept.is_file():
        with one_process(kept.with_suffix(".lock"), busy):
            if not kept.is_file():
                _run(trial, kept)
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _run(trial: Trial, kept: Path) -> None:
    from hf_relabel.trainers.loading import load_trained
    from hf_relabel.trainers.training.run import train

    place = kept.with_suffix("")
    report = train(
        trial.arm.recipe,
        trial.data,
        place,
        seed=trial.seed,
        device=trial.device,
        progress=False,
        # A student is trained again in less time than its checkpoints take.
        checkpoints=trial.arm.recipe.kind != "static",
    )
    model = load_trained(place, report, device=trial.device)
    values = {}
    for each in trial.sets:
        per_query = evaluate_model(model, each, metrics=(trial.metric,), top_k=trial.depth).per_query
        values[each.about.name] = [per_query[query_id][trial.metric] for query_id in each.qrels]
    result = {"arm": trial.arm.name, "seed": trial.seed, "rows": report.data.rows, "values": values}
    with written_whole(kept) as file:
        file.write(json.dumps(result).encode())
    shutil.rmtree(place)


def _digest(data: RetrievalSet) -> str:
    content = json.dumps([dict(data.queries), {name: dict(grades) for name, grades in data.qrels.items()}])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
