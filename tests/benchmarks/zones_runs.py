"""Rows as a technique leaves them by a judge's probabilities, and the runs that train on them."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.rows import Row, arrow_schema
from hf_relabel.builders.techniques import Technique, apply
from hf_relabel.cards.training_report import DataUsed
from hf_relabel.trainers.comparing.trials import Arm, Measure, Trial, outcome
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.quiet import quiet_libraries
from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe
from hf_relabel.trainers.students.static import default_student
from tests.benchmarks.judged_sets import NO_LIMIT, STEPS
from tests.benchmarks.zones_judges import KnownSet, Values

METRIC = "ndcg@10"


@dataclass(frozen=True)
class Way:
    """What is done with a judge's probabilities, or without a judge.

    Attributes:
        technique: None for rows as they are.
        sure: candidates with a higher p are false negatives.
        drop: those above it and not sure are doubtful.
        changes: fields of the recipe.
        student: a recipe to train by, in place of the static student's.
        steps: times the steps of the others.
        around: what is changed while it trains; its name stands for it in what is kept.
        filtered: the rows, where no judge is asked.
        scored: what candidates carry for a score, by MiniLM's cosine and p; positives carry 1.
    """

    name: str
    technique: Technique | None = None
    sure: float = 0.5
    drop: float = 1.0
    changes: Mapping[str, Any] = field(default_factory=dict)
    student: str | None = None
    steps: float = 1.0
    around: Callable[[KnownSet], Any] | None = None
    filtered: Callable[[KnownSet], Iterator[Row]] | None = None
    scored: Callable[[Values, Values], Values] | None = None

    def rows(self, known: KnownSet, p: Values | None) -> Iterator[Row]:
        if self.technique is None or p is None:
            yield from known.rows if self.filtered is None else self.filtered(known)
            return
        cuts = np.searchsorted(known.owner, np.arange(1, len(known.rows)))  # rows may have no negatives
        parts = np.split(p, cuts)
        scores = None if self.scored is None else np.split(self.scored(known.cosines, p), cuts)
        for number, (row, of_row) in enumerate(zip(known.rows, parts, strict=True)):
            if scores is not None:
                row = _scored(row, scores[number])
            verdicts = [
                Verdict(place, passage.docid, self._outcome(value), "judged")
                for place, (passage, value) in enumerate(zip(row.negative_passages, of_row, strict=True))
            ]
            made = apply(self.technique, row, verdicts, limit=NO_LIMIT)
            if made is not None:
                yield made

    def _outcome(self, p: float) -> Outcome:
        if p > self.sure:
            return Outcome.FALSE_NEGATIVE
        return Outcome.DOUBTFUL if p > self.drop else Outcome.NEGATIVE


def _scored(row: Row, scores: Values) -> Row:
    negatives = zip(row.negative_passages, scores.tolist(), strict=True)
    return replace(
        row,
        positive_passages=tuple(replace(each, score=1.0) for each in row.positive_passages),
        negative_passages=tuple(replace(each, score=score) for each, score in negatives),
    )


def recipe_for(known: KnownSet, way: Way) -> Recipe:
    if way.student is not None:
        return load_recipe(way.student, **way.changes)
    student = default_student().model_dump()
    changes = {name: value for name, value in way.changes.items() if name != "loss"}
    loss = {**student["loss"], **way.changes.get("loss", {})}
    return load_recipe(student, **changes, loss=loss, max_steps=round(STEPS.get(known.name, 200) * way.steps))


def run(known: KnownSet, way: Way, p: Values | None, seed: int, runs: Path, device: str = "cpu") -> None:
    """Train and measure, unless it is kept."""
    trial, records = _trial(known, way, p, seed)
    if not _file(known, trial, runs).is_file():
        rows = _table(records, way.scored is not None)
        with training(known, way):
            trial = replace(trial, data=replace(trial.data, rows=rows))
            outcome(trial, replace(measure_of(known), device=device), runs, tell=lambda _: None)
    _index(known, way, p, seed, runs).write_text(_file(known, trial, runs).name)


def kept(known: KnownSet, way: Way, p: Values | None, seed: int, runs: Path) -> list[float] | None:
    """The metric of each query of the set; None where that was not measured yet."""
    index = _index(known, way, p, seed, runs)
    return list(json.loads((runs / index.read_text()).read_text("utf-8"))["values"]) if index.is_file() else None


def _trial(known: KnownSet, way: Way, p: Values | None, seed: int) -> tuple[Trial, list[dict[str, Any]]]:
    records = [row.to_dict(scores=way.scored is not None) for row in way.rows(known, p)]
    text = json.dumps([known.name, way.name if way.around else "", records], sort_keys=True)
    used = DataUsed(location=known.name, config="original", rows=len(records))
    data = TrainingData(used, None, hashlib.sha256(text.encode()).hexdigest())
    return Trial(Arm(way.name, "original", recipe_for(known, way), lambda: data), data, seed), records


def measure_of(known: KnownSet) -> Measure:
    return Measure((known.data,), METRIC, 100, "cpu", keep_models=False)


def _file(known: KnownSet, trial: Trial, runs: Path) -> Path:
    return runs / f"{trial.key()}-{known.measured_as(measure_of(known))}.json"


def _index(known: KnownSet, way: Way, p: Values | None, seed: int, runs: Path) -> Path:
    """Says which run a cell's seed is, so that a table needs no rows."""
    digest = hashlib.sha256(b"" if p is None else p.tobytes())
    digest.update(json.dumps([known.name, way.name, recipe_for(known, way).model_dump(mode="json"), seed]).encode())
    return runs / f"cell-{digest.hexdigest()[:24]}"


def _table(records: list[dict[str, Any]], scored: bool) -> Any:
    import pyarrow as pa
    from datasets import Dataset

    return Dataset(pa.Table.from_pylist(records, arrow_schema(scores=scored)))


@contextmanager
def training(known: KnownSet, way: Way) -> Iterator[None]:
    """One thread, no bars, each text tokenized once."""
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # accelerate collects in every run, and what is kept here is much to look through
    with ExitStack() as within:
        within.enter_context(quiet_libraries())
        within.enter_context(patch.object(StaticEmbedding, "preprocess", _remembering))
        if way.around is not None:
            within.enter_context(way.around(known))
        yield


_TOKENS: dict[str, Any] = {}


def _remembering(self: Any, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Any]:
    assert not prompt
    missing = [text for text in dict.fromkeys(inputs) if text not in _TOKENS]
    for text, encoding in zip(missing, self.tokenizer.encode_batch(missing, add_special_tokens=False), strict=True):
        _TOKENS[text] = np.array(encoding.ids, dtype=np.int64)
    ids = [_TOKENS[text] for text in inputs]
    offsets = torch.from_numpy(np.cumsum([0, *(len(each) for each in ids[:-1])]))
    return {"input_ids": torch.from_numpy(np.concatenate(ids)), "offsets": offsets}
