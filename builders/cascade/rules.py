"""Cascades: stages of judges from cheap to accurate, and what each passes on.

RLHN (arXiv 2505.16967) sends a whole row to stage 2 when stage 1 calls any of its candidates relevant
(`escalate="row"`). Most of the cost at stage 2 then goes on candidates nobody doubted, so the default here sends only
the doubted ones (`escalate="candidate"`). Everything in this module is a pure function of the judgements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.messages.expecting import expect
from hf_relabel.builders.rows import Row

Escalate = Literal["candidate", "row"]
Findings = Mapping[int, tuple[Outcome, str]]
StageAnswers = Mapping[int, Judgement]

RELEVANT = frozenset({Label.BETTER, Label.WORSE})


@dataclass(frozen=True, slots=True)
class Rule:
    """How one stage hands over to the next.

    Example:
            >>> from hf_relabel import Label, Rule
            >>> sorted(map(str, Rule(escalate="row").passes))  # a row goes on whole when one candidate has such a label
            ['better', 'worse']

    Attributes:
        escalate: "candidate" passes on the doubted candidates, "row" all of a row that has a doubted one.
        passes: the labels that count as doubt.
        accepts: labels that are the final word when this stage says them, without asking the next: a cheap judge that
            is sure (`better` makes a false negative, `irrelevant` a negative). Such candidates are never passed on, not
            with their row either.
    """

    escalate: Escalate = "candidate"
    passes: frozenset[Label] = RELEVANT
    accepts: frozenset[Label] = frozenset()

    def passed_on(self, asked: Sequence[int], answers: StageAnswers) -> list[int]:
        """The candidates of one row that go to the next stage, in order."""
        labels = {position: answer.label for position in asked if (answer := answers.get(position))}
        doubted = [position for position, label in labels.items() if label in self.passes - self.accepts]
        if self.escalate == "row" and doubted:
            return [position for position in asked if labels.get(position) not in self.accepts]
        return doubted


def first_candidates(row: Row, findings: Findings) -> list[int]:
    """The candidates that need a judge: all negatives that the free findings did not settle."""
    return [position for position in range(len(row.negative_passages)) if position not in findings]


def candidates_of_stage(
    row: Row, findings: Findings, rules: Sequence[Rule], answers: Sequence[StageAnswers]
) -> list[int]:
    """The candidates that stage `len(answers)` (0-based) must judge, given the answers of the stages before it."""
    asked = first_candidates(row, findings)
    for rule, stage_answers in zip(rules, answers, strict=False):
        asked = rule.passed_on(asked, stage_answers)
    return asked


def conclude(
    row: Row,
    findings: Findings,
    rules: Sequence[Rule],
    answers: Sequence[StageAnswers],
    *,
    exempt: bool = False,
) -> list[Verdict]:
    """The verdicts on all negatives of a row, in their order.

    Example:
            >>> from hf_relabel import Judgement, Label, Passage, Row, Rule, conclude
            >>> known, other = Passage("d1", "", "Air scatters blue light."), Passage("d2", "", "Light is scattered.")
            >>> row = Row("q1", "why is the sky blue", (known,), (other,))
            >>> conclude(row, {}, [Rule()], [{0: Judgement(Label.BETTER)}])[0].outcome
            <Outcome.FALSE_NEGATIVE: 'false_negative'>

    Args:
        findings: what was settled before any judge, by position.
        rules, answers: one of each per stage. An answer that is missing means the stage has not been run on it.
        exempt: the row is not judged (ArguAna in the paper).

    Only `better` from the last stage, or from one that accepts it, makes a false negative. A candidate whose last asked
    stage gave no answer is unjudged, whatever earlier stages said: no answer is never read as "irrelevant".
    """
    expect("row", row, Row)
    last_asked = _last_stage_asked(row, findings, rules, answers)
    verdicts = []
    for position, passage in enumerate(row.negative_passages):
        stages = tuple(stage_answers.get(position) for stage_answers in answers)
        if position in findings:
            outcome, reason = findings[position]
            stages = (None,) * len(answers)
        elif exempt:
            outcome, reason = Outcome.UNJUDGED, "exempt"
        else:
            stage = last_asked[position]
            stages = tuple(answer if index <= stage else None for index, answer in enumerate(stages))
            final = stage == len(answers) - 1 or (stage < len(rules) and Label.BETTER in rules[stage].accepts)
            outcome, reason = _final_word(stages, stage, final=final)
        verdicts.append(Verdict(position, passage.docid, outcome, reason, stages))
    return verdicts


def _last_stage_asked(
    row: Row, findings: Findings, rules: Sequence[Rule], answers: Sequence[StageAnswers]
) -> dict[int, int]:
    asked = first_candidates(row, findings)
    last_asked = dict.fromkeys(asked, 0)
    for stage in range(1, len(answers)):
        asked = rules[stage - 1].passed_on(asked, answers[stage - 1])
        last_asked.update(dict.fromkeys(asked, stage))
    return last_asked


def _final_word(stages: Sequence[Judgement | None], stage: int, *, final: bool) -> tuple[Outcome, str]:
    judgement = stages[stage] if stages else None
    if judgement is None:
        return Outcome.UNJUDGED, "not-reached"
    if not judgement.label.is_answer:
        return Outcome.UNJUDGED, "unknown" if judgement.is_unknown else str(judgement.label)
    if final and judgement.label is Label.BETTER:
        return Outcome.FALSE_NEGATIVE, "judged"
    doubted = any(answer is not None and answer.label in RELEVANT for answer in stages)
    return (Outcome.DOUBTFUL if doubted else Outcome.NEGATIVE), "judged"
