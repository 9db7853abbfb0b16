"""A retriever reads its text, the prompt before it and the EOS behind it, and nothing else: as Tevatron does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.collating import RowCollator
from hf_relabel.trainers.models import build_model
from hf_relabel.trainers.models.texts import pad_with_something
from hf_relabel.trainers.recipes.recipe import load_recipe
from tests.trainers.training_rows import row

Real = Callable[[str], str]
LENGTH = 12
TEXTS = ["where is my card?", "a parcel that answers where my card is, and a query on the passage", "no"]


def recipe(folder: str, **changes: Any) -> Any:
    values = {"pooling": "lasttoken", "append_eos": True, "query_prompt": "query: ", "passage_prompt": "passage: "}
    fixed = {"name": "eos", "kind": "bi-encoder", "model": folder, "learning_rate": 1e-5, "max_length": LENGTH}
    return load_recipe({**fixed, **values, **changes})


def tevatron(folder: str, texts: list[str], prompt: str) -> npt.NDArray[np.float32]:
    """Tevatron's `TrainCollator` with `append_eos_token`, and its pooling `eos`, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    found = tokenizer([prompt + text for text in texts], truncation=True, max_length=LENGTH - 1)["input_ids"]
    ids = [[*each, tokenizer.eos_token_id] for each in found]
    assert any(len(each) == LENGTH for each in ids)
    assert any(len(each) < LENGTH for each in ids)
    batch = tokenizer.pad({"input_ids": ids}, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    last = batch["attention_mask"].sum(1) - 1
    vectors = hidden[torch.arange(len(texts)), last]
    return np.asarray(torch.nn.functional.normalize(vectors, dim=1).numpy())


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_what_is_pooled_is_the_appended_eos(name: str, real: Real, tmp_path: Path) -> None:
    folder = real(name)
    model = build_model(recipe(folder), device="cpu")
    model.save_pretrained(str(tmp_path))
    queries, passages = tevatron(folder, TEXTS, "query: "), tevatron(folder, TEXTS, "passage: ")
    for each in (model, SentenceTransformer(str(tmp_path), device="cpu")):
        for each.tokenizer.padding_side in ("right", "left"):
            np.testing.assert_allclose(each.encode_query(TEXTS), queries, atol=1e-5)
            np.testing.assert_allclose(each.encode_document(TEXTS), passages, atol=1e-5)


def test_training_reads_the_same_texts(real: Real) -> None:
    folder = real("qwen2")
    model = build_model(recipe(folder), device="cpu").eval()
    rows = [{**row(1, [TEXTS[0]], TEXTS[1:]), "query": TEXTS[1]}, {**row(2, [TEXTS[2]], [TEXTS[1]]), "query": "no"}]
    prompts = {name: model.prompts[name] for name in ("query", "document")}
    batch = RowCollator(model.preprocess, prompts=prompts)(rows)
    with torch.no_grad():
        found = model({name.removeprefix("row_"): value for name, value in batch.items()})["sentence_embedding"]
        passages = model(batch["row_passages"])["sentence_embedding"].numpy()
    np.testing.assert_allclose(found.numpy(), tevatron(folder, [TEXTS[1], "no"], "query: "), atol=1e-5)
    expected = {tuple(np.round(vector, 4)) for vector in tevatron(folder, TEXTS, "passage: ")}
    assert {tuple(np.round(vector, 4)) for vector in passages} == expected


def test_no_chat_template_is_left_in_the_folder(real: Real, tmp_path: Path) -> None:
    build_model(recipe(real("qwen2"), append_eos=False), device="cpu").save_pretrained(str(tmp_path))
    again = SentenceTransformer(str(tmp_path), device="cpu")
    assert again.tokenizer.chat_template is None
    assert again.tokenizer.decode(again.preprocess(["where is"])["input_ids"][0]) == "where is"


def test_what_a_tokenizer_appends_by_itself_stays_and_is_not_doubled(real: Real) -> None:
    with pytest.raises(ConfigError, match=r"ends each text with <\|endoftext\|> already"):
        build_model(recipe(real("qwen3_embedding")), device="cpu")
    model = build_model(recipe(real("qwen3_embedding"), append_eos=False), device="cpu")
    assert model.tokenizer.decode(model.preprocess(["where is"])["input_ids"][0]) == "where is<|endoftext|>"
    once = build_model(recipe(real("xlm_roberta")), device="cpu")
    assert once.tokenizer.decode(once.preprocess(["where is"])["input_ids"][0]).count("</s>") == 1


def test_a_model_that_was_published_with_its_template_keeps_it(real: Real, tmp_path: Path) -> None:
    SentenceTransformer(real("qwen2"), device="cpu").save_pretrained(str(tmp_path))
    model = build_model(recipe(str(tmp_path), append_eos=False, max_length=None), device="cpu")
    assert model.tokenizer.decode(model.preprocess(["where is"])["input_ids"][0]).endswith("where is<|im_end|>\n")
    with pytest.raises(ConfigError, match=r"append_eos: .* was published with a chat template"):
        build_model(recipe(str(tmp_path)), device="cpu")


def test_other_kinds_read_no_template_either(real: Real) -> None:
    late = load_recipe("late-interaction", model=real("qwen2"), query_prompt="", passage_prompt="")
    model = build_model(late, device="cpu")
    assert model.tokenizer.decode(model.preprocess(["where is"])["input_ids"][0]) == "where is"


def test_a_tokenizer_without_padding_pads_with_its_eos(real: Real) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real("qwen3"))
    pad_with_something(tokenizer)
    assert tokenizer.pad_token == "<|endoftext|>"
    tokenizer.pad_token = None
    pad_with_something(tokenizer)
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"


def test_a_tokenizer_without_an_eos_cannot_append_one(real: Real) -> None:
    with pytest.raises(ConfigError, match="has no EOS"):
        build_model(recipe(real("modernbert")), device="cpu")


def test_the_dense_layers_of_a_base_are_kept(real: Real) -> None:
    """EmbeddingGemma has two between its pooling and its normalisation."""
    folder = real("gemma_embedding")
    model = build_model(recipe(folder, pooling="mean", append_eos=False, max_length=None), device="cpu")
    published = SentenceTransformer(folder, device="cpu")
    np.testing.assert_allclose(model.encode_query(TEXTS), published.encode(TEXTS, prompt="query: "), atol=1e-6)
