"""Every recipe for a model of a kind that people train runs on one of its shape: to a folder that reads as it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import TrainerCallback

from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.loading import load_model
from hf_relabel.trainers.recipes.recipe import load_recipe
from hf_relabel.trainers.training.run import train
from tests.trainers import real_shaped
from tests.trainers.runs import beir_folder, rows_file

BASES = {
    "qwen2.5-7b-lora": real_shaped.qwen2,
    "reranker-qwen2.5-3b": real_shaped.qwen2,
    "qwen3-embedding-0.6b": real_shaped.qwen3_embedding,
    "qwen3-reranker-0.6b": real_shaped.qwen3,
    "modernbert": real_shaped.modernbert,
    "modernbert-reranker": real_shaped.modernbert,
    "multilingual-e5-base": real_shaped.xlm_roberta,
    "embeddinggemma-300m": real_shaped.gemma_embedding,
}
TEXTS = ["where is my card?", "a parcel that answers", "no"]


class Kept(TrainerCallback):  # type: ignore[misc]
    model: Any = None

    def on_train_end(self, *_: Any, model: Any, **__: Any) -> None:
        self.model = model


def outputs(model: Any) -> Any:
    if hasattr(model, "predict"):
        return np.asarray(model.predict([(TEXTS[0], text) for text in TEXTS]))
    return np.concatenate([model.encode_query(TEXTS), model.encode_document(TEXTS)])


@pytest.mark.parametrize("name", BASES)
def test_a_recipe_trains_a_model_of_that_shape_and_loads_as_it_was(name: str, tmp_path: Path) -> None:
    base = BASES[name](tmp_path / "base")
    changes: dict[str, Any] = {"max_steps": 2, "batch_size": 2, "gradient_accumulation": 1, "max_length": 150}
    recipe = load_recipe(name, model=base, revision=None, max_length_inference=200, learning_rate=1e-3, **changes)
    rows, kept = open_training_data(rows_file(tmp_path, 4)), Kept()
    sets = [read_beir(beir_folder(tmp_path, 2))]
    options: dict[str, Any] = {"device": "cpu", "checkpoints": False, "evaluate_untrained": False, "evaluate_every": 3}
    report = train(recipe, rows, tmp_path / "out", sets=sets, callbacks=[kept], **options)
    assert (report.steps, len(report.evaluations)) == (2, 1)
    assert kept.model.transformers_model.is_activation_checkpointing == recipe.gradient_checkpointing
    assert np.isfinite([each.loss for each in report.curve if each.loss is not None]).all()
    again = load_model(str(tmp_path / "out"), device="cpu")
    assert again.max_seq_length == 200
    # Adapters are loaded in the precision of the base, 16 bits.
    np.testing.assert_allclose(outputs(again), outputs(kept.model), atol=0.02 if recipe.lora else 1e-5)
    assert (outputs(again)[0] != outputs(again)[-1]).any()
