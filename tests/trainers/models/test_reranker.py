"""A reranker reads query and passage in the form that its recipe names, in training and wherever it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.rows import joined_text
from hf_relabel.trainers.data.collating import ListwiseCollator
from hf_relabel.trainers.data.rows import RowDraw
from hf_relabel.trainers.group_loss import GroupSoftmaxLoss
from hf_relabel.trainers.models import build_model
from hf_relabel.trainers.recipes.recipe import load_recipe
from tests.trainers.training_rows import passage, row

Real = Callable[[str], str]
LENGTH = 20
PAIRS = [
    ("where is my card?", joined_text("card", "a parcel")),
    ("where is my card?", joined_text("the title", "a passage text that answers where the card is, and more of it")),
    ("ask", "no"),
]


def recipe(folder: str, form: str, **changes: Any) -> Any:
    prompts = {"query_prompt": "query: ", "passage_prompt": "document: "} if form == "joined" else {}
    fixed = {"name": form, "kind": "reranker", "form": form, "model": folder, "learning_rate": 1e-5}
    return load_recipe({**fixed, "max_length": LENGTH, "loss": {"objective": "softmax"}, **prompts, **changes})


def logits(model: Any, pairs: Any = PAIRS) -> npt.NDArray[np.float32]:
    return np.asarray(model.predict(pairs, activation_fn=torch.nn.Identity()))


def by_tevatron(folder: str, score: torch.Tensor) -> npt.NDArray[np.float32]:
    """The score of a linear layer at an appended EOS: Tevatron's `RerankerTrainCollator`, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    values = []
    for query, text in PAIRS:
        ids = tokenizer(f"query: {query} document: {text}", truncation=True, max_length=LENGTH - 1)["input_ids"]
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([[*ids, tokenizer.eos_token_id]])).last_hidden_state
        values.append(float(hidden[0, -1] @ score[0]))
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_a_joined_pair_is_one_text_scored_at_its_eos(name: str, real: Real, tmp_path: Path) -> None:
    folder = real(name)
    model = build_model(recipe(folder, "joined"), device="cpu")
    expected = by_tevatron(folder, model[2].linear.weight.detach())
    assert np.ptp(expected) > 1e-3
    model.save_pretrained(str(tmp_path))
    again = CrossEncoder(str(tmp_path), device="cpu")
    for each in (model, again):
        for each.tokenizer.padding_side in ("right", "left"):
            np.testing.assert_allclose(each.predict(PAIRS), expected, atol=1e-5)  # on no other scale
    ids = again.preprocess(PAIRS[:1])["input_ids"][0]
    assert (
        again.tokenizer.decode(ids) == f"query: where is my card? document: card\na parcel{again.tokenizer.eos_token}"
    )


def test_the_form_of_qwen3_is_that_of_the_judge(real: Real, tmp_path: Path) -> None:
    folder = real("qwen3")
    model = build_model(recipe(folder, "qwen3", max_length=None, instruction="Find a good passage"), device="cpu")
    judge = CrossEncoderJudge(folder, form="qwen3-reranker", instruction="Find a good passage", device="cpu")
    texts = model.tokenizer.batch_decode(model.preprocess(PAIRS)["input_ids"])
    assert texts == model.tokenizer.batch_decode(judge._loaded.preprocess(PAIRS)["input_ids"])
    assert (
        "<Instruct>: Find a good passage\n<Query>: where is my card?\n<Document>: card\na parcel<|im_end|>" in texts[0]
    )
    causal = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    yes, no = (model.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    expected = []
    for text in texts:
        bare = text.replace("<|endoftext|>", "")
        with torch.no_grad():
            last = causal(**model.tokenizer(bare, return_tensors="pt", add_special_tokens=False)).logits[0, -1]
        expected.append(float(last[yes] - last[no]))
    np.testing.assert_allclose(logits(model), expected, atol=1e-5)
    model.save_pretrained(str(tmp_path))
    np.testing.assert_allclose(logits(CrossEncoder(str(tmp_path), device="cpu")), expected, atol=1e-5)


def test_a_causal_model_has_no_form_for_a_bare_pair(real: Real) -> None:
    with pytest.raises(ConfigError, match=r"form: .* causal model.*joined"):
        build_model(recipe(real("qwen2"), "pair"), device="cpu")
    with pytest.raises(ConfigError, match="no causal model"):
        build_model(recipe(real("modernbert"), "qwen3"), device="cpu")
    with pytest.raises(ConfigError, match="no EOS"):
        build_model(recipe(real("modernbert"), "joined"), device="cpu")


def test_a_trained_classifier_keeps_its_head(real: Real, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(real("qwen3"))
    found = AutoModelForSequenceClassification.from_pretrained(real("qwen3"), num_labels=1, dtype=torch.float32)
    for part in (found, tokenizer):
        part.save_pretrained(tmp_path / "base")
    model = build_model(recipe(str(tmp_path / "base"), "joined"), device="cpu")
    np.testing.assert_allclose(logits(model), by_tevatron(real("qwen3"), found.score.weight.detach()), atol=1e-5)
    model.save_pretrained(str(tmp_path / "saved"))
    np.testing.assert_allclose(logits(CrossEncoder(str(tmp_path / "saved"), device="cpu")), logits(model), atol=1e-5)


def test_a_joined_pair_stands_between_what_the_tokenizer_puts_around_a_text(real: Real) -> None:
    model = build_model(recipe(real("xlm_roberta"), "joined", max_length=None), device="cpu")
    text = model.tokenizer.decode(model.preprocess(PAIRS[2:])["input_ids"][0])
    assert text.replace(" ", "") == "<s>query:askdocument:no</s>"


def test_a_length_that_the_form_fills_by_itself_is_refused(real: Real) -> None:
    with pytest.raises(ConfigError, match=r"max_length: 20 tokens leave no place .* `form: qwen3` takes \d+ of them"):
        build_model(recipe(real("qwen3"), "qwen3"), device="cpu")


def test_a_prompt_with_quotes_is_written_as_it_is(real: Real) -> None:
    prompt = 'ask "it\'s" \\ {{ x }} \n'
    model = build_model(recipe(real("qwen2"), "joined", query_prompt=prompt, max_length=None), device="cpu")
    assert model.tokenizer.decode(model.preprocess(PAIRS[2:])["input_ids"][0]).startswith(f"{prompt}ask document: no")


def test_a_batch_has_the_title_and_one_positive_of_each_epoch(real: Real) -> None:
    model = build_model(recipe(real("qwen2"), "joined", max_length=None), device="cpu")
    collator = ListwiseCollator(model.preprocess, draw=RowDraw(negatives=7, positives=1))
    rows = [row(1, [passage("a", "good", "card"), "yes", "only"], ["bad", "no"]), row(2, ["good"], ["bad"])]
    drawn = set()
    for collator.epoch.number in range(8):
        batch = collator(rows)
        assert [label.tolist() for label in batch["label"]] == [[1.0, 0.0, 0.0], [1.0, 0.0]]
        drawn.add(batch["docs"][0][0])
    assert drawn == {"card\ngood", "yes", "only"}


def test_the_loss_is_that_of_a_softmax_over_each_group(real: Real) -> None:
    model = build_model(recipe(real("qwen2"), "joined"), device="cpu").eval()
    texts = [["good", "bad", "no parcel"], ["card", "yes"]]
    labels = [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0])]
    queries = ["where is my card?", "ask"]
    loss = GroupSoftmaxLoss(model, temperature=0.5)((queries, texts), labels)
    groups = [logits(model, [(query, text) for text in each]) for query, each in zip(queries, texts, strict=True)]
    expected = [
        -np.log(np.exp(each[place] / 0.5) / np.exp(each / 0.5).sum())
        for each, place in zip(groups, (0, 1), strict=True)
    ]
    np.testing.assert_allclose(loss.item(), np.mean(expected), rtol=1e-5)
    loss.backward()
    assert all(torch.isfinite(each.grad).all() for each in model.parameters() if each.grad is not None)
    with pytest.raises(ConfigError, match="one positive, not 2"):
        GroupSoftmaxLoss(model)((queries, texts), [torch.tensor([1.0, 1.0, 0.0]), labels[1]])
