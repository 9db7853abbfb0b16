"""Combining judges: what a stage with several judges, or one judge asked in several orders, says of a candidate.

| rule | better | worse | irrelevant |
|---|---|---|---|
| `agreement` | all say better | some call it relevant | all say irrelevant |
| `majority` | more than half say better | more than half call it relevant | else |
| `weighted` | probability of relevance at least .5 | at least .1 | else |
| `arhn` | a better passage than the ground truth in every order | it holds an answer, or the orders disagree | else |

`weighted` takes each judge's audited confusion: by Bayes' rule with judges that err independently (Dawid and Skene,
1979), the odds of relevance are the audited odds times, for each judge, how much more often it says what it said of
relevant candidates than of others. `arhn` is the rule of ARHN (arXiv 2604.11092) for a judge of spans followed by
judges that rank; it has no thresholds.

No answer is never read as "irrelevant": `agreement` and `arhn` need all, `majority` and `weighted` more than half of
the judges to answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Judgement, Label

CombineRule = Literal["agreement", "majority", "weighted", "arhn"]
COMBINE_RULES: tuple[CombineRule, ...] = get_args(CombineRule)

_LEVELS = {Label.IRRELEVANT: 0.0, Label.WORSE: 0.5, Label.BETTER: 1.0}
_ANSWERS = (Label.BETTER, Label.WORSE, Label.IRRELEVANT)
_LEAST_LIKELIHOOD = 1e-3


def level(judgement: Judgement) -> float:
    """A judgement as a number in [0, 1]: its score, or 0, .5 and 1 for a judge that has only labels."""
    return judgement.score if judgement.score is not None else _LEVELS[judgement.label]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How an audited judge labels, per label: its probability for relevant candidates and for others."""

    relevant: Mapping[Label, float]
    other: Mapping[Label, float]

    @classmethod
    def counted(cls, counts: Mapping[str, Mapping[str, float]]) -> Confusion:
        """From an audit's weighted counts `{label: {"relevant": …, "other": …}}`, each with half a count added."""
        return cls(_shares(counts, "relevant"), _shares(counts, "other"))

    def log_odds(self, label: Label) -> float:
        """How far this label moves the log odds of relevance."""
        return math.log(max(self.relevant[label], _LEAST_LIKELIHOOD) / max(self.other[label], _LEAST_LIKELIHOOD))

    def to_dict(self) -> dict[str, dict[str, float]]:
        return {
            str(label): {"relevant": self.relevant[label], "other": self.other[label]}  # rounded they move labels at .5
            for label in _ANSWERS
        }


def _shares(counts: Mapping[str, Mapping[str, float]], column: str) -> dict[Label, float]:
    try:
        found = {label: float(counts.get(str(label), {}).get(column, 0.0)) for label in _ANSWERS}
    except (AttributeError, TypeError, ValueError):
        found = dict.fromkeys(_ANSWERS, math.nan)
    if not all(math.isfinite(value) and value >= 0 for value in found.values()):
        raise ConfigError("weights: expected counts {label: {relevant: …, other: …}} for each judge, as `audit` gives")
    total = sum(found.values())
    if math.isclose(total, 1):
        return found  # shares already
    smoothing = 0.5 if total > 1.5 else 0.0
    whole = total + smoothing * len(found)
    return {label: (value + smoothing) / whole if whole else 1 / len(found) for label, value in found.items()}


@dataclass(frozen=True, slots=True)
class Combine:
    """How the judgements of a stage's judges become one.

    Example:
            >>> from hf_relabel import Combine, Judgement, Label
            >>> said = [Judgement(Label.BETTER), Judgement(Label.BETTER), Judgement(Label.IRRELEVANT)]
            >>> Combine("majority").combined(said).label
            <Label.BETTER: 'better'>

    Attributes:
        rule: see the module's text.
        confusions: for `weighted`, one for each judge, in order.
        names: of the judges that the confusions are of; empty where they are of the stage's judges in their order.
        prior: for `weighted`, the share of candidates that are relevant before anybody is asked.

    Raises:
        ConfigError: no such rule, or weights that do not fit it.
    """

    rule: CombineRule = "agreement"
    confusions: tuple[Confusion, ...] = field(default=())
    prior: float = 0.15
    names: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.rule not in COMBINE_RULES:
            raise ConfigError(f"combine: no rule {self.rule!r}; there is {', '.join(COMBINE_RULES)}")
        if not 0 < self.prior < 1:
            raise ConfigError(f"combine: the prior must lie between 0 and 1, found {self.prior!r}")
        if (self.rule == "weighted") != bool(self.confusions):
            raise ConfigError("combine: `weighted` needs weights, and no other rule has any")

    def check(self, judges: int) -> None:
        """Raises ConfigError unless the rule fits that many judges."""
        if self.confusions and len(self.confusions) != judges:
            raise ConfigError(f"combine: there are weights of {len(self.confusions)} judges, the stage has {judges}")
        if self.rule == "arhn" and judges < 2:
            raise ConfigError("combine: `arhn` needs a judge of spans and at least one that ranks")

    def of_judges(self, judges: Sequence[str]) -> Combine:
        """The same with the weights of these judges, found by their names.

        Raises:
            ConfigError: there are no weights of one of them.
        """
        if not self.names:
            return self
        known = dict(zip(self.names, self.confusions, strict=True))
        for name in judges:
            if name not in known:
                raise ConfigError(
                    f"weights: there are none of the judge {name!r}, only of {', '.join(map(repr, known))}. Audit a run"
                    " of the judges that are to be combined."
                )
        return replace(self, confusions=tuple(known[name] for name in judges), names=())

    def combined(self, said: Sequence[Judgement | None]) -> Judgement | None:
        """One judgement from those of all judges, None while one has not been asked."""
        asked = [judgement for judgement in said if judgement is not None]
        if len(asked) < len(said) or not asked:
            return None
        answers = [judgement for judgement in asked if judgement.label.is_answer]
        needed = len(asked) if self.rule in ("agreement", "arhn") else len(asked) // 2 + 1
        if len(answers) < needed:
            silent = next(judgement for judgement in asked if not judgement.label.is_answer)
            return self._made_of(asked, silent.label, None, silent.rationale)
        label, score = self._label(asked, answers)
        agreeing = (judgement.rationale for judgement in answers if judgement.label is label)
        return self._made_of(asked, label, round(score, 6), next(filter(None, agreeing), ""))

    def _label(self, asked: Sequence[Judgement], answers: Sequence[Judgement]) -> tuple[Label, float]:
        if self.rule == "arhn":
            return _arhn(answers)
        if self.rule == "weighted":
            probability = round(self._probability(asked), 6)
            label = Label.BETTER if probability >= 0.5 else Label.WORSE if probability >= 0.1 else Label.IRRELEVANT
            return label, probability
        better = sum(judgement.label is Label.BETTER for judgement in answers)
        relevant = sum(judgement.label is not Label.IRRELEVANT for judgement in answers)
        score = sum(level(judgement) for judgement in answers) / len(answers)
        if self.rule == "agreement":
            is_better, is_relevant = better == len(answers), relevant > 0
        else:
            is_better, is_relevant = 2 * better > len(answers), 2 * relevant > len(answers)
        return Label.BETTER if is_better else Label.WORSE if is_relevant else Label.IRRELEVANT, score

    def _probability(self, asked: Sequence[Judgement]) -> float:
        odds = math.log(self.prior / (1 - self.prior))
        for confusion, judgement in zip(self.confusions, asked, strict=True):
            if judgement.label.is_answer:
                odds += confusion.log_odds(judgement.label)
        return 1 / (1 + math.exp(-odds))

    def _made_of(self, asked: Sequence[Judgement], label: Label, score: float | None, rationale: str) -> Judgement:
        return Judgement(
            label,
            score,
            rationale,
            _sum([judgement.prompt_tokens for judgement in asked]),
            _sum([judgement.completion_tokens for judgement in asked]),
            cut=any(judgement.cut for judgement in asked),
        )

    def to_dict(self) -> dict[str, Any]:
        """As a run remembers it."""
        values: dict[str, Any] = {"rule": self.rule}
        if self.confusions:
            values |= {"prior": self.prior, "weights": [confusion.to_dict() for confusion in self.confusions]}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Combine:
        """Raises ConfigError."""
        weights = values.get("weights") or ()
        if isinstance(weights, str):
            raise ConfigError("combine: `weights` must be a list with one entry for each judge, or a mapping by name")
        return cls(
            values.get("rule", "agreement"),
            tuple(map(Confusion.counted, weights.values() if isinstance(weights, Mapping) else weights)),
            values.get("prior", 0.15),
            tuple(map(str, weights)) if isinstance(weights, Mapping) else (),
        )


def _arhn(answers: Sequence[Judgement]) -> tuple[Label, float]:
    span, *orders = answers
    better = sum(judgement.label is Label.BETTER for judgement in orders)
    score = sum(level(judgement) for judgement in orders) / len(orders)
    if better == len(orders):
        return Label.BETTER, score
    return (Label.WORSE if better or span.label is not Label.IRRELEVANT else Label.IRRELEVANT), score


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
