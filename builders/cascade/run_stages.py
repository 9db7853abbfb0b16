"""What a journal remembers of a judging run: its stages, whom each asks, and what goes on to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.cascade.rules import Rule, StageAnswers
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.sources import Source


@dataclass(frozen=True, slots=True)
class RunStage:
    """One stage of a run, as the journal knows it.

    Attributes:
        judges: whom it asks, each about every candidate that reaches the stage.
        combine: how several become one; None where there is one judge.
    """

    name: str
    rule: Rule
    judges: tuple[JudgeIdentity, ...]
    combine: Combine | None = None

    def combined(self, said: Sequence[StageAnswers]) -> StageAnswers:
        """The stage's word on each candidate, from its judges' answers."""
        if self.combine is None:
            return said[0]
        positions = sorted({position for answers in said for position in answers})
        words = {position: self.combine.combined([answers.get(position) for answers in said]) for position in positions}
        return {position: word for position, word in words.items() if word is not None}

    def describe(self) -> str:
        """The judges as people name them."""
        names = list(dict.fromkeys(judge.describe() for judge in self.judges))
        if self.combine is None:
            return names[0]
        return f"{' + '.join(names)}{self._times() if len(names) == 1 else ''} ({self.combine.rule})"

    def _times(self) -> str:
        orders, samples = (len({judge.settings.get(name) for judge in self.judges}) for name in ("permutation", "seed"))
        return (f" in {orders} orders" if orders > 1 else "") + (f", {samples} times" if samples > 1 else "")

    def judge_names(self) -> list[str]:
        """A name for each judge that no other judge of the stage has."""
        names = [judge.describe() for judge in self.judges]
        return [
            name if names.count(name) == 1 else f"{name} #{names[: index + 1].count(name)}"
            for index, name in enumerate(names)
        ]

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": self.name,
            "escalate": self.rule.escalate,
            "passes": sorted(self.rule.passes),
            "judge": asdict(self.judges[0]),
        }
        if self.rule.accepts:
            values["accepts"] = sorted(self.rule.accepts)
        if self.combine is not None:
            values |= {"judges": [asdict(judge) for judge in self.judges], "combine": self.combine.to_dict()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunStage:
        rule = Rule(
            values["escalate"],
            frozenset(Label(name) for name in values["passes"]),
            frozenset(Label(name) for name in values.get("accepts", ())),
        )
        judges = tuple(JudgeIdentity(**judge) for judge in values.get("judges") or [values["judge"]])
        combine = values.get("combine")
        return cls(values["name"], rule, judges, None if combine is None else Combine.from_dict(combine))


def stages_of_run(run: Mapping[str, Any]) -> list[RunStage]:
    """The stages of a run, as `Journal.last_run` gives it."""
    return [RunStage.from_dict(stage) for stage in run["stages"]]


def run_settings(source: Source, stages: Sequence[RunStage], exempt: frozenset[str]) -> dict[str, Any]:
    """What the journal remembers of a run: enough to work out its verdicts without its judges."""
    return {
        "version": 1,
        "source": {name: value for name, value in source.record().items() if name not in ("skipped", "ignored_fields")},
        "exempt": sorted(exempt),
        "stages": [stage.to_dict() for stage in stages],
    }
