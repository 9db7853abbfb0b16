"""Losses that expect false negatives, each against its formula as it is written, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.recipes.recipe import load_recipe, with_teacher
from hf_relabel.trainers.recipes.robust import (
    ConfidenceRegularised,
    Debiased,
    GeneralisedCrossEntropy,
    Robust,
    WeakenedLabels,
)
from tests.trainers.test_losses import RAGGED, VARIANTS, batch_of, guide_model, reference, scores_of
from tests.trainers.training_rows import bert_model, row, static_model

SOFT = 0.5
"""A temperature at which the tiny model is sure of nothing, and every branch of each loss is taken."""

Formula = Callable[[float, Sequence[float], Sequence[float]], float]
"""Of a target, the row's positives and its negatives."""


def debiased(tau: float, temperature: float) -> Formula:
    def loss(target: float, positives: Sequence[float], negatives: Sequence[float]) -> float:
        n = len(negatives)
        mean_negatives = sum(map(math.exp, negatives)) / n if n else 0.0
        mean_positives = sum(map(math.exp, positives)) / len(positives)
        g = max((mean_negatives - tau * mean_positives) / (1 - tau), math.exp(-1 / temperature))
        return -math.log(math.exp(target) / (math.exp(target) + n * g))

    return loss


def probabilities(target: float, negatives: Sequence[float]) -> list[float]:
    """The target's first."""
    exponentials = [math.exp(score) for score in (target, *negatives)]
    return [each / sum(exponentials) for each in exponentials]


def gce(q: float) -> Formula:
    return lambda target, _, negatives: (1 - probabilities(target, negatives)[0] ** q) / q


def ccr(beta: float) -> Formula:
    def loss(target: float, _: Sequence[float], negatives: Sequence[float]) -> float:
        log_p = [math.log(each) for each in probabilities(target, negatives)]
        return -log_p[0] - beta * sum(-each for each in log_p) / len(log_p)

    return loss


def weakened(alpha: float, beta: float) -> Formula:
    def loss(target: float, _: Sequence[float], negatives: Sequence[float]) -> float:
        first, *others = probabilities(target, negatives)
        plausible = [True, *(each > beta for each in others)]
        found = [first, *others]
        inside = sum(p for p, each in zip(found, plausible, strict=True) if each)
        if inside >= 1 - alpha or all(plausible):
            return 0.0
        nearest = [
            (1 - alpha) * p / inside if each else alpha * p / (1 - inside)
            for p, each in zip(found, plausible, strict=True)
        ]
        return sum(q * math.log(q / p) for q, p in zip(nearest, found, strict=True) if q)

    return loss


CASES: list[tuple[Robust, Formula]] = [
    (Debiased(tau_plus=0.05), debiased(0.05, SOFT)),
    (Debiased(tau_plus=0.95), debiased(0.95, SOFT)),  # some rows are at the floor
    (GeneralisedCrossEntropy(q=0.7), gce(0.7)),
    (GeneralisedCrossEntropy(q=1), gce(1)),
    (ConfidenceRegularised(beta=0.5), ccr(0.5)),
    (ConfidenceRegularised(beta=1), ccr(1)),
    (WeakenedLabels(alpha=0.1, beta=0.15), weakened(0.1, 0.15)),
    (WeakenedLabels(alpha=0, beta=0.15), weakened(0, 0.15)),
    (WeakenedLabels(alpha=0.9, beta=0.2), weakened(0.9, 0.2)),  # some rows are within
]
IDS = [f"{robust.name}-{'-'.join(map(str, list(robust.model_dump().values())[1:]))}" for robust, _ in CASES]


def by_the_formula(formula: Formula, scored: list[tuple[list[float], list[float]]], variant: str) -> float:
    def row_loss(positives: list[float], negatives: list[float]) -> float:
        if variant == "random":
            return formula(positives[0], positives, negatives)
        if variant == "joint":
            return sum(formula(positive, positives, negatives) for positive in positives)
        return formula(-math.log(sum(math.exp(-score) for score in positives)), positives, negatives)

    return sum(row_loss(*each) for each in scored) / len(scored)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize(("robust", "formula"), CASES, ids=IDS)
def test_a_loss_is_what_its_paper_says(robust: Robust, formula: Formula, variant: Any, in_batch: bool) -> None:
    model = static_model()
    loss = MultiPositiveLoss(model, positives=variant, in_batch=in_batch, temperature=SOFT, robust=robust)
    rows = RAGGED if in_batch else [each for each in RAGGED if each["negative_passages"]]
    scored = scores_of(model, rows, temperature=SOFT, in_batch=in_batch)
    value = loss(batch_of(model, rows))
    assert value.item() == pytest.approx(by_the_formula(formula, scored, variant), abs=1e-9)
    value.backward()
    assert all(torch.isfinite(each.grad).all() for each in model.parameters())


def test_the_cases_take_every_branch() -> None:
    scored = scores_of(static_model(), RAGGED, temperature=SOFT)
    floors, zeros, several = 0, 0, 0
    for positives, negatives in scored:
        taken = 0.95 * sum(map(math.exp, positives)) / len(positives)
        floors += bool(negatives) and sum(map(math.exp, negatives)) / len(negatives) - taken < 0.05 * math.exp(-2)
        found = probabilities(positives[0], negatives)
        zeros += weakened(0.9, 0.2)(positives[0], positives, negatives) == 0 and bool(negatives)
        several += any(each > 0.15 for each in found[1:])
    assert 0 < floors < len(scored)
    assert 0 < zeros < len(scored)
    assert 0 < several < len(scored)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "robust",
    [
        Debiased(tau_plus=0),
        Debiased(tau_plus=1e-12),
        GeneralisedCrossEntropy(q=1e-9),
        ConfidenceRegularised(beta=0),
        WeakenedLabels(alpha=0, beta=1),
    ],
    ids=lambda robust: robust.name,
)
def test_the_limit_of_each_is_the_plain_loss(robust: Robust, variant: Any) -> None:
    model = static_model()
    loss = MultiPositiveLoss(model, positives=variant, robust=robust)
    assert loss(batch_of(model, RAGGED)).item() == pytest.approx(reference(model, RAGGED, variant), abs=1e-6)


def test_gce_at_1_is_half_the_mean_absolute_error() -> None:
    model = static_model()
    errors = []
    for positives, negatives in scores_of(model, RAGGED, temperature=SOFT):
        first, *others = probabilities(positives[0], negatives)
        errors.append((1 - first) + sum(others))  # |1 - P| of the positive, |0 - P| of the others
    loss = MultiPositiveLoss(model, positives="random", temperature=SOFT, robust=GeneralisedCrossEntropy(q=1))
    assert loss(batch_of(model, RAGGED)).item() == pytest.approx(sum(errors) / len(errors) / 2, abs=1e-9)


def test_the_gradient_of_weakened_labels_is_that_of_a_fixed_target() -> None:
    """The authors hold the nearest distribution fixed: it is the nearest, so that moving it changes nothing."""
    scores = torch.tensor([0.3, 1.4, -0.5, 0.9], dtype=torch.float64, requires_grad=True)
    log_p, alpha = scores.log_softmax(0), 0.1
    inside = torch.tensor([True, True, False, False])  # P = .17, .50, .08, .30
    nearest = torch.where(inside, 1 - log_p.new_tensor(alpha), alpha) * log_p.exp().detach()
    nearest /= torch.where(inside, log_p.exp()[inside].sum(), log_p.exp()[~inside].sum()).detach()
    (expected,) = torch.autograd.grad((nearest * (nearest.log() - log_p)).sum(), scores)
    from hf_relabel.trainers.robust import Scored, robust_loss

    settings = WeakenedLabels(alpha=alpha, beta=0.4)
    counts = torch.tensor([[3.0]], dtype=torch.float64)
    scored = Scored(scores[None, :1], scores[None, :1], scores[None, 1:], counts, -2.0)
    (found,) = torch.autograd.grad(robust_loss(settings, scored).sum(), scores)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("robust", "formula"), CASES[1::6], ids=IDS[1::6])
def test_gradient_caching_and_a_guide_go_with_them(tmp_path: Path, robust: Robust, formula: Formula) -> None:
    model, guide = bert_model(tmp_path), guide_model()
    gradients = []
    for size in (None, 2):
        model.zero_grad()
        loss = MultiPositiveLoss(model, temperature=SOFT, mini_batch_size=size, robust=robust, guide=guide)
        value = loss(batch_of(model, RAGGED, guide=guide))
        value.backward()
        gradients.append([value.detach(), *(each.grad for each in model.parameters() if each.grad is not None)])
    unguided = by_the_formula(formula, scores_of(model, RAGGED, temperature=SOFT), "logsumexp")
    assert abs(gradients[0][0].item() - unguided) > 1e-6
    for plain, cached in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, cached, atol=1e-10, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("robust", [case for case, _ in CASES], ids=IDS)
def test_they_are_numbers_at_any_temperature_and_without_negatives(robust: Robust, variant: Any) -> None:
    model = static_model(dtype=torch.float32)
    loss = MultiPositiveLoss(model, positives=variant, temperature=0.01, robust=robust)
    for rows in (RAGGED, [row(0, ["alone", "still alone"], [])]):
        model.zero_grad()
        value = loss(batch_of(model, rows))
        value.backward()
        assert math.isfinite(value.item())
        assert all(torch.isfinite(each.grad).all() for each in model.parameters())
    assert value.item() == pytest.approx(0, abs=1e-6)


def test_the_floor_of_debiased_is_a_cosines() -> None:
    with pytest.raises(ConfigError, match="cosines only"):
        MultiPositiveLoss(static_model(), similarity="dot", robust=Debiased())
    MultiPositiveLoss(static_model(), similarity="dot", robust=GeneralisedCrossEntropy())


@pytest.mark.parametrize(
    ("robust", "problem"),
    [
        ({"name": "gce", "q": 0}, "`loss.robust.q`"),
        ({"name": "gce", "q": 1e-300}, "`loss.robust.q`"),
        ({"name": "debiased", "tau_plus": 1}, "`loss.robust.tau_plus`"),
        ({"name": "ccr", "weight": 1}, "there is no such setting. There is name,"),
        ({"name": "gse"}, "'gse'.*debiased, gce, ccr, label-weakening"),
        ({"q": 1}, "`loss.robust.name` is missing"),
    ],
)
def test_a_recipe_says_what_is_wrong(robust: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_recipe("static", loss={"robust": robust})


def test_a_recipe_has_one_and_is_written_as_before_without() -> None:
    plain = load_recipe("static")
    assert "robust" not in plain.model_dump()["loss"]
    assert "robust" not in plain.to_yaml()
    recipe = load_recipe(plain.model_dump(), loss={"robust": {"name": "gce"}})
    assert recipe.loss.robust == GeneralisedCrossEntropy(q=0.7)  # type: ignore[union-attr]
    assert load_recipe(recipe.model_dump(mode="json")) == recipe
    assert "    name: gce\n    q: 0.7\n" in recipe.to_yaml()
    with pytest.raises(ConfigError, match="`kind: reranker` has no such setting"):
        load_recipe("reranker-small", loss={"robust": {"name": "gce"}})


def test_distillation_has_no_labels_to_doubt() -> None:
    teacher = {"use": "distillation", "model": "m"}
    with pytest.raises(ConfigError, match=r"needs .*`loss.robust: null`"):
        load_recipe("static", loss={"robust": {"name": "gce"}}, teacher=teacher)
    recipe = load_recipe("static", loss={"robust": {"name": "gce"}})
    from hf_relabel.trainers.recipes.recipe import DistillationTeacher

    assert with_teacher(recipe, DistillationTeacher.model_validate(teacher)).loss.robust is None  # type: ignore[union-attr]


def test_wrong_parameters_are_refused_in_python_too() -> None:
    with pytest.raises(ValidationError):
        GeneralisedCrossEntropy(q=2)
