"""The passage sieve: its rule, and a run with one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.configs.release import row_of
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import Row
from hf_relabel.cards.model_tables import _robust, _technique
from hf_relabel.trainers.data.baselines import BiEncoderScorer, ScoredRow, passage_sieve, teacher_scores
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.loading import load_trained
from hf_relabel.trainers.recipes.recipe import BiEncoderRecipe, load_recipe
from hf_relabel.trainers.training.plan import plan_training
from hf_relabel.trainers.training.run import train
from hf_relabel.trainers.training.sieving import first_recipe
from tests.trainers.runs import rows_file, tiny_recipe
from tests.trainers.training_rows import row

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of garbage, at the end of each training: it takes longer than these runs."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


def scored(positives: dict[str, float], negatives: dict[str, float]) -> ScoredRow:
    made = row_of(row(0, list(positives), list(negatives)))
    return ScoredRow(made, tuple(positives.values()), tuple(negatives.values()))


def texts(found: Row) -> list[str]:
    return [passage.text for passage in found.negative_passages]


def by_the_paper(positives: dict[str, float], negatives: dict[str, float], temperature: float) -> list[str]:
    """Those whose -log P is above the mean of -log P, P being the softmax over the row's passages."""
    scores = {**positives, **negatives}
    total = sum(math.exp(score / temperature) for score in scores.values())
    losses = {text: -math.log(math.exp(score / temperature) / total) for text, score in scores.items()}
    mean = sum(losses.values()) / len(losses)
    return [text for text in negatives if losses[text] > mean]


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_what_is_left_is_what_the_paper_leaves_at_any_temperature(temperature: float) -> None:
    positives, negatives = {"p": 0.8, "p too": 0.3}, {"a": 0.7, "b": 0.51, "c": 0.49, "d": 0.2, "e": 0.1}
    found = passage_sieve(scored(positives, negatives))
    assert texts(found) == by_the_paper(positives, negatives, temperature) == ["d", "e"]
    assert len(found.positive_passages) == 2


def test_one_negative_stays_and_a_row_without_any_is_left_as_it_is() -> None:
    assert texts(passage_sieve(scored({"p": 0.1}, {"a": 0.9, "b": 0.8}))) == ["b"]
    assert texts(passage_sieve(scored({"p": 0.7}, {"a": 0.7, "b": 0.7}))) == ["a"]
    assert texts(passage_sieve(scored({"p": 0.7}, {}))) == []


def test_blank_passages_do_not_count() -> None:
    assert texts(passage_sieve(scored({"p": 0.9, " ": -9.0}, {"a": 0.2, "b": 0.8}))) == ["a"]


def test_a_run_trains_on_what_its_first_model_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Any = tiny_recipe(tmp_path, max_steps=1, sieve={"beta": 0.8})
    data = open_training_data(rows_file(tmp_path, 8))
    first = first_recipe(recipe)
    assert isinstance(first, BiEncoderRecipe)
    assert first.sieve is None
    assert first.loss.robust is not None
    assert first.loss.robust.model_dump() == {"name": "ccr", "beta": 0.8}
    alone = train(first, data, tmp_path / "first", seed=3, device="cpu", progress=False)
    scorer = BiEncoderScorer(load_trained(tmp_path / "first", alone, device="cpu"))
    rows = [passage_sieve(each) for each in teacher_scores(map(row_of, data.rows), scorer)]
    expected = sum(len(each["negative_passages"]) for each in data.rows) - sum(len(texts(each)) for each in rows)
    assert 0 < expected < 4 * len(rows)

    trained_on: list[list[str]] = []
    from hf_relabel.trainers.training import run

    def spied(recipe: Any, model: Any, rows: Any, *rest: Any) -> Any:
        trained_on.append([passage["text"] for each in rows for passage in each["negative_passages"]])
        return make(recipe, model, rows, *rest)

    make = run.make_trainer
    monkeypatch.setattr(run, "make_trainer", spied)
    report = train(recipe, data, tmp_path / "out", seed=3, device="cpu", progress=False)
    assert trained_on[1] == [text for each in rows for text in texts(each)]
    assert report.technique == "sieve"
    assert report.teaching is not None
    assert report.teaching.negatives_left_out == expected
    assert report.recipe["loss"].get("robust") is None
    assert not [path.name for path in (tmp_path / "out").iterdir() if "sieve" in path.name]
    assert f"left out were {expected:,} hard negatives" in str(_technique(report))
    assert "contrastive confidence regularisation" in str(_robust(alone))
    assert "beta 0.8) in place of InfoNCE" in str(_robust(alone))
    assert _robust(report) is None


def test_a_run_that_was_stopped_asks_its_first_model_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_relabel.trainers.training import run

    recipe, data = tiny_recipe(tmp_path, max_steps=1, sieve={}), open_training_data(rows_file(tmp_path, 8))
    build = run.build_model
    built: list[bool] = []

    def stopped(recipe: Any, **settings: Any) -> Any:
        built.append(recipe.sieve is None)
        if built == [True, False]:
            raise KeyboardInterrupt
        return build(recipe, **settings)

    monkeypatch.setattr(run, "build_model", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "out", device="cpu", progress=False)
    train(recipe, data, tmp_path / "out", device="cpu", progress=False)
    assert built == [True, False, False]


def test_what_goes_with_a_sieve(tmp_path: Path) -> None:
    assert "sieve" not in load_recipe("static").model_dump()
    with pytest.raises(ConfigError, match="take one of them"):
        load_recipe("static", sieve={}, teacher={"use": "perc-pos", "model": "m"})
    with pytest.raises(ConfigError, match="Kinds that have it: bi-encoder, static"):
        load_recipe("reranker-small", sieve={})
    recipe, data = tiny_recipe(tmp_path), open_training_data(rows_file(tmp_path, 8))
    plain = plan_training(recipe, data, on="cpu")
    both = plan_training(load_recipe(recipe.model_dump(), sieve={}), data, on="cpu")
    assert plain.hours is not None
    assert both.hours == pytest.approx(2 * plain.hours)
    assert "2 models, the first for the sieve" in both.to_text()
