"""Losses that expect some negatives to be positives, each of its paper, and the sieve. None needs a judge.

The formulas are in `trainers.robust`, established from code: that of the authors of `Debiased` (chingyaoc/DCL), of
`ConfidenceRegularised` and the sieve (wangskyGit/passage-sieve, with the paper's equation), and of data ambiguation
(julilien/MitigatingLabelNoiseDataAmbiguation), which has generalised cross-entropy as well. The papers' full texts were
not at hand.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hf_relabel.trainers.recipes.settings import Settings


class Debiased(Settings):
    """Debiased contrastive loss (Chuang et al., arXiv 2007.00224): what positives that are sampled as negatives add to
    the sum of the negatives is taken off again.

    -log exp(s₊) / (exp(s₊) + N·g), where of N negatives and M positives, s = similarity / t,
    g = max{(mean over negatives of exp(s) - τ⁺ · mean over positives of exp(s)) / (1 - τ⁺), e^(-1/t)}: the paper's
    estimator with its floor, the least that exp(s) of a cosine can be. The M positives are those of the row in this
    step (M = 1 in the authors' code). The paper draws negatives from all texts; ours are mostly hard ones, so that τ⁺
    is the share of positives among *them*. `tau_plus: 0` is InfoNCE.

    Attributes:
        tau_plus: the class prior τ⁺; .1 is the default of the authors' code, and their best on STL10.
    """

    name: Literal["debiased"] = "debiased"
    tau_plus: float = Field(default=0.1, ge=0, lt=1)


class GeneralisedCrossEntropy(Settings):
    """Generalised cross-entropy (Zhang and Sabuncu, arXiv 1805.07836): (1 - P^q) / q, with P the softmax probability of
    the positive among itself and the negatives. For q towards 0 it is InfoNCE, at 1 it is 1 - P: half
    the mean absolute error. A row that the model finds unlikely weighs P^q of what it does in InfoNCE.

    Attributes:
        q: from 1e-9 to 1, as single precision ends nearer to 0; .7 is what other papers take it at. The paper's
            truncated form is left out.
    """

    name: Literal["gce"] = "gce"
    q: float = Field(default=0.7, ge=1e-9, le=1)


class ConfidenceRegularised(Settings):
    """Contrastive confidence regularisation (Wang, Zhang and Nguyen, arXiv 2401.00165, equation 8): InfoNCE less
    β · mean over a row's passages p of -log P(p), so that the model stays sure of what it finds.

    The passages are the positive and all its negatives of the step, and P is the softmax over them. By its gradient,
    β = 0 weighs negatives by their probabilities (InfoNCE), and β = 1 all alike; above, the hardest would be drawn
    nearer. The authors' code (wangskyGit/passage-sieve) softmaxes cosines as they are, at a temperature of 1; here it
    is the recipe's. They advise to add the term after some plain training; here it is there from the first step.

    Attributes:
        beta: the weight; the authors try .1 to 1 with cosines, and advise .5.
    """

    name: Literal["ccr"] = "ccr"
    beta: float = Field(default=0.5, ge=0, le=1)


class SieveSettings(Settings):
    """The passage sieve of arXiv 2401.00165: a model of this recipe is trained with contrastive confidence
    regularisation first, negatives that it takes for positives are left out, and the model proper is trained on what is
    left, from the start, with the recipe's own loss.

    By the authors' code (wangskyGit/passage-sieve), a negative n of a row is left out where its -log P(n) is not above
    the mean over the row's passages: as P is their softmax, where its cosine to the query is not below their mean. Of a
    row whose negatives would all go, the one farthest from the query stays (theirs: one at random). With several
    positives, all count in the mean (theirs: one at random). They begin both models from one that has been trained.

    Attributes:
        beta: of `ConfidenceRegularised`.
    """

    beta: float = Field(default=0.5, ge=0, le=1)


class WeakenedLabels(Settings):
    """Label weakening: in place of one label, all that are plausible, of the data's label and the model's confidence.

    After "Learning to Retrieve with Weakened Labels" (Sharma, arXiv 2512.13237), of which only the abstract could be
    had: its formula is not established here. This is the published loss that fits its words, data ambiguation (Lienen
    and Hüllermeier, arXiv 2305.13764, and its code julilien/MitigatingLabelNoiseDataAmbiguation), with a row's passages
    for classes: the positive is plausible, and so is each negative whose softmax probability P is above β. With S the
    sum of P over them, the loss is 0 where S ≥ 1 - α, and else the divergence of P from the nearest distribution that
    has 1 - α there: (1 - α) log((1 - α) / S) + α log(α / (1 - S)). Which are plausible is judged without gradient.
    `{alpha: 0, beta: 1}` is InfoNCE.

    Attributes:
        alpha: what implausible passages may have together; that code's default.
        beta: probability from which a negative is plausible. Their example lowers it from .75 to .6 in training; here
            it is .6 throughout.
    """

    name: Literal["label-weakening"] = "label-weakening"
    alpha: float = Field(default=0.1, ge=0, lt=1)
    beta: float = Field(default=0.6, gt=0, le=1)


Robust = Debiased | GeneralisedCrossEntropy | ConfidenceRegularised | WeakenedLabels
"""Losses that expect some negatives to be positives, and need no judge."""
