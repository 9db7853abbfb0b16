"""Ways to run a cascade on the replies that a journal holds: what each would have taken and found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hf_relabel.builders.cascade.rules import RELEVANT, Escalate, Rule, candidates_of_stage, conclude
from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.rows import Row

_OTHER_WAYS: tuple[tuple[str, Escalate, frozenset[Label]], ...] = (
    ("by candidate", "candidate", RELEVANT),
    ("by row", "row", RELEVANT),
    ("by candidate, better only", "candidate", frozenset({Label.BETTER})),
)


@dataclass(frozen=True, slots=True)
class Escalation:
    """One way to run the cascade, on the replies of the journal.

    Attributes:
        judged: candidates judged, per stage.
        tokens: prompt and completion tokens of those judgements; each has its share of the prompt it came in.
        false_negatives: candidates that come out as false negatives, findings without a judge aside.
        missing: answers it needs that the journal does not have; above 0 the counts are lower bounds.
        decided_by: the stages whose word makes a false negative: the last, and those that accept `better`.
        lost: false negatives that other complete ways decided by the same stages find and this one does not. None where
            there is none to compare with, or where answers are missing.
        on_front: no other complete way decided by the same stages finds as many for fewer tokens, and there is one.
    """

    name: str
    judged: tuple[int, ...]
    tokens: int
    false_negatives: int
    missing: int
    decided_by: tuple[str, ...]
    lost: int | None = None
    on_front: bool = False


@dataclass(slots=True)
class Way:
    """Adds up what one way of running the cascade would have taken and found."""

    name: str
    rules: Sequence[Rule]
    decided_by: tuple[str, ...]
    judged: list[int] = field(default_factory=list)
    tokens: float = 0.0
    found: int = 0
    missing: int = 0
    lost: int = 0

    def add(self, row: Row, findings: Mapping[int, Any], words: Sequence[Mapping[int, Judgement]]) -> set[int]:
        """Returns the positions of the false negatives it finds in this row."""
        self.judged = self.judged or [0] * len(self.rules)
        said: list[dict[int, Judgement]] = []
        for stage, word in enumerate(words[: len(self.rules)]):
            asked = candidates_of_stage(row, findings, self.rules, said)
            said.append({position: word[position] for position in asked if position in word})
            answered = sum(judgement.label.is_answer for judgement in said[-1].values())
            self.judged[stage] += answered
            self.missing += len(asked) - answered
            for judgement in said[-1].values():
                self.tokens += (judgement.prompt_tokens or 0) + (judgement.completion_tokens or 0)
        outcomes = conclude(row, findings, self.rules, said)
        judged = (verdict for verdict in outcomes if verdict.reason == "judged")
        found = {verdict.position for verdict in judged if verdict.outcome is Outcome.FALSE_NEGATIVE}
        self.found += len(found)
        return found

    def result(self) -> Escalation:
        counts = (tuple(self.judged), round(self.tokens), self.found, self.missing)
        return Escalation(self.name, *counts, self.decided_by, self.lost)


def ways_of(stages: Sequence[RunStage]) -> Iterator[Way]:
    """The ways to run the stages: each cut short, and each by candidate, by row and by what is called better."""
    for depth in range(1, len(stages) + 1):
        own = [stage.rule for stage in stages[:depth]]
        accepting = [stage.name for stage in stages[: depth - 1] if Label.BETTER in stage.rule.accepts]
        decided_by = (*accepting, stages[depth - 1].name)
        upto = " > ".join(stage.name for stage in stages[:depth])
        if depth == 1:
            yield Way(f"{upto} alone", own, decided_by)
            continue
        yield Way(f"{upto}, as it ran", own, decided_by)
        for name, escalate, passes in _OTHER_WAYS:
            rules = [Rule(escalate, passes, rule.accepts) for rule in own]
            if rules[:-1] != own[:-1] and all(passes - rule.accepts for rule in own[:-1]):
                yield Way(f"{upto}, {name}", rules, decided_by)


def compared(ways: Sequence[Escalation]) -> Iterator[Escalation]:
    """The ways with what follows from the others that leave the last word to the same stages."""
    for way in ways:
        whole = [other for other in ways if other.decided_by == way.decided_by and not other.missing]
        if way.missing or len(whole) < 2:
            yield replace(way, lost=None)
            continue
        beaten = any(
            other.tokens <= way.tokens
            and other.false_negatives >= way.false_negatives
            and (other.tokens, other.false_negatives) != (way.tokens, way.false_negatives)
            for other in whole
        )
        yield replace(way, on_front=not beaten)
