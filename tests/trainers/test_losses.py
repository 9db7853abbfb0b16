"""The loss against a plain and slow reference, and against the loss of sentence-transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.collating import RowCollator
from hf_relabel.trainers.data.rows import Draw, RowDraw
from hf_relabel.trainers.guide import Guide
from hf_relabel.trainers.losses import MultiPositiveLoss
from tests.trainers.training_rows import bert_model, passage, plain_rows, row, static_model

VARIANTS = ["logsumexp", "random", "joint"]

RAGGED = [
    row(0, ["both", "first only"], ["x one", "x two", "shared"]),
    row(1, ["second"], ["both", "shared"]),  # a positive of row 0, and a negative that row 0 has as well
    row(2, ["third", "third b", "third c"], []),  # no hard negatives
    # The docid of a positive of row 1 with another text, and the text of one of row 2 with another docid.
    row(3, ["fourth"], [passage("d-second", "second, as it was"), passage("other", "third b")]),
    # The docid of row 0's positive, but of another subset: another passage.
    row(4, ["fifth"], [passage("d-both", "not the same")], subset="t"),
    # The query of row 0 in other letters, whose positive is here a negative; and that of row 1 in other words.
    {**row(5, ["sixth"], ["both", "x one"]), "query": "  QUERY 0  aaa"},
    {**row(1, ["seventh"], ["second"]), "query": "in other words"},
]


def batch_of(
    model: Any, rows: list[dict[str, Any]], draw: RowDraw | None = None, guide: Guide | None = None
) -> list[dict[str, Any]]:
    """What the trainer gives to the loss."""
    batch = RowCollator(model.preprocess, draw=draw or RowDraw(None, None), guide=guide)(rows)
    return [{name.removeprefix("row_"): value for name, value in batch.items()}]


def guide_model(**settings: Any) -> Guide:
    """A guide that finds another order than the model that is trained."""
    model = static_model(6)
    with torch.no_grad():
        model[0].embedding.weight.mul_(torch.linspace(-1, 2, 6, dtype=torch.float64))
    return Guide(model, **settings)


def reference(
    model: SentenceTransformer,
    rows: list[dict[str, Any]],
    variant: str,
    *,
    temperature: float = 0.05,
    cosine: bool = True,
    in_batch: bool = True,
    draw: RowDraw | None = None,
) -> float:
    """The loss as it is defined, one number at a time."""
    scored = scores_of(model, rows, temperature=temperature, cosine=cosine, in_batch=in_batch, draw=draw)
    return sum(_row_loss(positives, negatives, variant) for positives, negatives in scored) / len(scored)


def scores_of(
    model: SentenceTransformer,
    rows: list[dict[str, Any]],
    *,
    temperature: float = 0.05,
    cosine: bool = True,
    in_batch: bool = True,
    draw: RowDraw | None = None,
) -> list[tuple[list[float], list[float]]]:
    """Of each row the scores of its positives and of its negatives."""
    draws = [(draw or RowDraw(None, None))(each) for each in rows]
    pool: dict[str, tuple[str, str]] = {}
    for places in ("positives", "negatives"):
        for each in draws:
            for found in getattr(each, places):
                pool.setdefault(found.text, (each.subset, found.docid))
    found_scores = []
    for each in draws:
        query = _vector(model, each.query, cosine)
        scores = {text: _dot(query, _vector(model, text, cosine)) / temperature for text in pool}
        candidates = list(pool) if in_batch else [found.text for found in each.negatives]
        asked = [other for other in draws if _same_query(each, other)]
        negatives = [text for text in candidates if not any(_is_known(text, pool[text], other) for other in asked)]
        positives = [found.text for found in each.positives]
        found_scores.append(([scores[text] for text in positives], [scores[text] for text in negatives]))
    return found_scores


def _row_loss(positives: list[float], negatives: list[float], variant: str) -> float:
    def softmax_loss(positive: float) -> float:
        return math.log(1 + sum(math.exp(negative - positive) for negative in negatives))

    if variant == "random":
        return softmax_loss(positives[0])
    if variant == "joint":
        return sum(softmax_loss(positive) for positive in positives)
    return math.log(1 + sum(math.exp(negative - positive) for positive in positives for negative in negatives))


def _same_query(one: Draw, other: Draw) -> bool:
    same_id = (one.subset, one.query_id) == (other.subset, other.query_id)
    return same_id or one.query.lower().split() == other.query.lower().split()


def _is_known(text: str, place: tuple[str, str], draw: Draw) -> bool:
    return any(text == known.text or place == (draw.subset, known.docid) for known in draw.known)


def _vector(model: SentenceTransformer, text: str, cosine: bool) -> list[float]:
    values: list[float] = model(model.preprocess([text]))["sentence_embedding"][0].tolist()
    length = math.sqrt(sum(value * value for value in values)) if cosine else 1.0
    return [value / length for value in values]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(one * other for one, other in zip(left, right, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("in_batch", [True, False])
def test_the_loss_is_what_it_is_defined_to_be(variant: Any, in_batch: bool) -> None:
    model = static_model()
    rows = RAGGED if in_batch else [each for each in RAGGED if each["negative_passages"]]
    loss = MultiPositiveLoss(model, positives=variant, in_batch=in_batch)
    expected = reference(model, rows, variant, in_batch=in_batch)
    assert loss(batch_of(model, rows)).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_temperature_and_similarity_are_used(variant: Any) -> None:
    model = static_model()
    loss = MultiPositiveLoss(model, positives=variant, temperature=0.5, similarity="dot")
    expected = reference(model, RAGGED, variant, temperature=0.5, cosine=False)
    assert loss(batch_of(model, RAGGED)).item() == pytest.approx(expected, abs=1e-9)
    assert loss.scale == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_positives_that_are_not_drawn_are_no_negatives_either(variant: Any) -> None:
    model = static_model()
    one = RowDraw(negatives=1, positives=1, seed=3)
    rows = [row(0, ["a", "b", "c", "d"], ["n"]), row(1, ["z"], ["a", "b", "c", "d"]), *RAGGED[2:5]]
    loss = MultiPositiveLoss(model, positives=variant)
    expected = reference(model, rows, variant, draw=one)
    assert loss(batch_of(model, rows, one)).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_with_one_positive_it_is_multiple_negatives_ranking(variant: Any, similarity: Any) -> None:
    from sentence_transformers.util import cos_sim, dot_score

    model, rows = static_model(), plain_rows(6, negatives=4)
    ours = MultiPositiveLoss(model, positives=variant, temperature=1 / 20, similarity=similarity)
    theirs = MultipleNegativesRankingLoss(model, 20.0, {"cosine": cos_sim, "dot": dot_score}[similarity])
    columns = [[each["query"] for each in rows], [each["positive_passages"][0]["text"] for each in rows]]
    columns += [[each["negative_passages"][place]["text"] for each in rows] for place in range(4)]
    values = [ours(batch_of(model, rows)), theirs([model.preprocess(texts) for texts in columns], None)]
    gradients = [torch.autograd.grad(value, list(model.parameters())) for value in values]
    assert values[0].item() == pytest.approx(values[1].item(), abs=1e-6)
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mini_batch_size", [1, 3, 100])
def test_gradient_caching_gives_the_same_gradients(tmp_path: Path, variant: Any, mini_batch_size: int) -> None:
    model = bert_model(tmp_path)
    gradients = []
    for size in (None, mini_batch_size):
        model.zero_grad()
        loss = MultiPositiveLoss(model, positives=variant, mini_batch_size=size)(batch_of(model, RAGGED))
        (loss / 4).backward()  # as under gradient accumulation
        gradients.append([loss.item(), *(each.grad for each in model.parameters() if each.grad is not None)])
    assert len(gradients[0]) == len(gradients[1]) > 10
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-12)
    for plain, cached in zip(gradients[0][1:], gradients[1][1:], strict=True):
        torch.testing.assert_close(plain, cached, atol=1e-10, rtol=0)


def test_caching_evaluates_without_gradients(tmp_path: Path) -> None:
    model = bert_model(tmp_path)
    with torch.no_grad():
        values = [MultiPositiveLoss(model, mini_batch_size=size)(batch_of(model, RAGGED)).item() for size in (None, 2)]
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_it_can_be_wrapped_to_train_shorter_vectors_too(tmp_path: Path) -> None:
    model = bert_model(tmp_path)
    values, gradients = [], []
    for size in (None, 2):
        model.zero_grad()
        wrapped = MatryoshkaLoss(model, MultiPositiveLoss(model, mini_batch_size=size), matryoshka_dims=[32, 8])
        value = wrapped(batch_of(model, RAGGED), None)
        value.backward()
        values.append(value.item())
        gradients.append([each.grad for each in model.parameters() if each.grad is not None])
    assert values[0] > MultiPositiveLoss(model)(batch_of(model, RAGGED)).item()
    assert values[0] == pytest.approx(values[1], abs=1e-12)
    for plain, cached in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, cached, atol=1e-10, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_numbers_where_a_row_has_no_negative(variant: Any) -> None:
    model = static_model(dtype=torch.float32)
    loss = MultiPositiveLoss(model, positives=variant, temperature=0.01)
    value = loss(batch_of(model, [row(0, ["alone", "still alone"], [])]))
    value.backward()
    assert value.item() == 0
    assert all(torch.isfinite(each.grad).all() for each in model.parameters())


def test_half_precision_scores_are_not_rounded() -> None:
    model = static_model(dtype=torch.float32)
    exact = MultiPositiveLoss(model, temperature=0.01)(batch_of(model, RAGGED)).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert MultiPositiveLoss(model, temperature=0.01)(batch_of(model, RAGGED)).item() == pytest.approx(exact)


def test_plain_text_columns_are_refused() -> None:
    model = static_model()
    columns = [model.preprocess(["a", "b"]), model.preprocess(["c", "d"])]
    with pytest.raises(ConfigError, match=r"given 2 columns of texts.*MultipleNegativesRankingLoss"):
        MultiPositiveLoss(model)(columns, None)


def test_a_plain_loss_refuses_our_batches() -> None:
    model = static_model()
    with pytest.raises(ValueError, match="Expected at least 2"):
        MultipleNegativesRankingLoss(model)(batch_of(model, RAGGED), None)


def test_a_batch_that_was_cut_is_refused(tmp_path: Path) -> None:
    model = bert_model(tmp_path)
    (batch,) = batch_of(model, RAGGED)
    batch["structure"] = {name: v[:3] if torch.is_tensor(v) else v for name, v in batch["structure"].items()}
    with pytest.raises(ConfigError, match="dispatch_batches"):
        MultiPositiveLoss(model)([batch])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"positives": "all"}, "logsumexp, random, joint"),
        ({"similarity": "euclid"}, "cosine, dot"),
        ({"temperature": 0}, "above 0"),
        ({"mini_batch_size": 0}, "1 or more"),
        ({"mini_batch_size": 4}, "static embedding"),
        ({"gather_across_devices": True, "in_batch": False}, "in_batch"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        MultiPositiveLoss(static_model(), **settings)
