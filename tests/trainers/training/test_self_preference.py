"""A student of its judge's own family is told of, before it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.recipes.recipe import load_recipe
from hf_relabel.trainers.training.run import train
from hf_relabel.trainers.training.self_preference import family_of
from tests.trainers.runs import rows_file

RELEASE = Path(__file__).parents[2] / "earlier" / "release"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen3-Reranker-4B", "Qwen"),
        ("mixedbread-ai/mxbai-rerank-large-v2", "Qwen"),  # trained from Qwen2.5
        ("mixedbread-ai/mxbai-rerank-large-v1", None),
        ("openai/gpt-oss-20b", "GPT"),
        ("gpt-4o-mini-2024-07-18", "GPT"),
        ("intfloat/e5-mistral-7b-instruct", "Mistral"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Llama"),
        ("deepseek-v4.1-flash", "DeepSeek"),
        ("intfloat/e5-base-unsupervised", None),
        ("sentence-transformers/all-MiniLM-L6-v2", None),
        ("answerdotai/ModernBERT-base", None),
    ],
)
def test_a_family_is_told_by_the_name(model: str, family: str | None) -> None:
    assert family_of(model) == family


def test_the_judges_of_a_release_are_known_where_they_changed_something() -> None:
    assert open_training_data(RELEASE, "remove-hn").judges == ("HuggingFaceTB/SmolLM2-135M-Instruct",)
    assert open_training_data(RELEASE, "original").judges == ()


@pytest.mark.parametrize(("judge", "warned"), [("Qwen/Qwen3-32B", True), ("openai/gpt-oss-120b", False)])
def test_training_says_so_before_it_begins(
    judge: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = load_recipe("qwen2.5-7b-lora", model=str(tmp_path / "Qwen2.5-absent"))
    data = replace(open_training_data(rows_file(tmp_path)), judges=("offline/bm25", judge))
    with pytest.raises(ConfigError):  # there is no such model
        train(recipe, data, tmp_path / "model", device="cpu", progress=False)
    assert (f"of one family (Qwen) with a judge of these rows, {judge}" in caplog.text) is warned
    assert ("2601.04455" in caplog.text) is warned
