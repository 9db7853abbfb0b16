"""What a journal says of the judging itself: bias of position, agreement, and what each escalation rule costs.

All of it is worked out offline from the judgements of one run, on the same replies.

- Positions: how often a judge of lists calls the candidate at each place of its prompt relevant. Places are drawn by a
  hash of the texts, so a judge that looks at candidates only has the same rate everywhere. Tested by chi-squared over
  the places, and by the correlation of place and label.
- Agreement: Cohen's kappa between the judges of a stage and between stages, on the candidates that both answered for.
- Escalation: for each rule, the tokens it would have taken and the false negatives it would have found. A rule that
  needs an answer that the journal does not have is left out, and it is said how many are missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from hf_relabel.builders.cascade.judge_weights import MEMBER_MARK
from hf_relabel.builders.cascade.rules import RELEVANT, Rule, candidates_of_stage, conclude
from hf_relabel.builders.cascade.verdicts import JudgedRow, RunStage
from hf_relabel.builders.errors import MissingExtra
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import require
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.rows import Row

SIGNIFICANT = 0.01
"""Level of the test of positions. There is one for each judge."""


@dataclass(frozen=True, slots=True)
class Place:
    """The candidates shown at one place of a prompt (1-based): how many answers, and of how many labels."""

    place: int
    answers: int
    better: int
    relevant: int


@dataclass(frozen=True, slots=True)
class PositionBias:
    """What a judge says at each place.

    Attributes:
        p_value: of equal rates of relevant labels at all places (chi-squared), None where there is too little to test.
        trend: correlation of place and relevance: below 0 the first places are called relevant more often.
        spread: rate of the place with the highest minus that of the place with the lowest, places with fewer than 20
            answers aside.
    """

    judge: str
    places: tuple[Place, ...]
    p_value: float | None
    trend: float | None
    spread: float | None

    @property
    def is_biased(self) -> bool:
        return self.p_value is not None and self.p_value < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judges on the candidates that both answered for. Kappa is of better against the rest; None if undefined."""

    first: str
    second: str
    both: int
    same_label: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Escalation:
    """One way to run the cascade, on the replies of the journal.

    Attributes:
        judged: candidates judged, per stage.
        tokens: prompt and completion tokens of those judgements; each has its share of the prompt it came in.
        false_negatives: candidates that come out as false negatives, findings without a judge aside.
        missing: answers it needs that the journal does not have; above 0 the counts are lower bounds.
        lost: false negatives of the most thorough rule that this one does not find.
        on_front: no other complete rule finds as many for fewer tokens.
    """

    name: str
    judged: tuple[int, ...]
    tokens: int
    false_negatives: int
    missing: int
    lost: int = 0
    on_front: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class JudgingReport(Shown):
    """See the module's text."""

    rows: int
    candidates: int
    positions: tuple[PositionBias, ...]
    agreement: tuple[Agreement, ...]
    escalation: tuple[Escalation, ...]
    cut: dict[str, int] = field(default_factory=dict)
    """Per judge, the judgements made on a part of the text."""
    lacking: str | None = None
    """What to install for the kappas and the tests of positions, which are None; None where nothing is missing."""

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        for bias, found in zip(values["positions"], self.positions, strict=True):
            bias["is_biased"] = found.is_biased
        return values

    def to_text(self) -> str:
        """Plain tables."""
        parts = [f"{counted(self.rows, 'row')}, {counted(self.candidates, 'candidate')} for the judges."]
        if self.positions:
            lines = [[bias.judge, bias.spread, bias.trend, bias.p_value, _bias_note(bias)] for bias in self.positions]
            header = ["judge of lists", "spread", "trend", "p", "note"]
            table = text_table(lines, header, floatfmt=".3f")
            parts.append(f"Bias of position\n{table}\n{_WHAT_BIAS_MEANS}")
            header = ["place", *(bias.judge for bias in self.positions)]
            parts.append("Share called relevant, by place in the prompt\n" + text_table(self._by_place(), header))
        if self.agreement:
            pairs = [[pair.first, pair.second, pair.both, pair.same_label, pair.kappa] for pair in self.agreement]
            header = ["judge", "judge", "both answered", "same label", "kappa"]
            table = text_table(pairs, header, floatfmt=".3f")
            parts.append(f"Agreement\n{table}\n{_WHAT_AGREEMENT_MEANS}")
        if self.escalation:
            noted = len(self.escalation) > 1 or any(way.missing for way in self.escalation)
            ways = [
                [way.name, " + ".join(map(str, way.judged)), way.tokens, way.false_negatives, way.lost]
                + ([_note(way)] if noted else [])
                for way in self.escalation
            ]
            header = ["escalation", "judged", "tokens", "false negatives", "lost", *(["note"] if noted else [])]
            table = text_table(ways, header, intfmt=",")
            meaning = f"{_WHAT_WAYS_MEAN}\n{_BEST_VALUE}" if noted else _WHAT_WAYS_MEAN
            parts.append(f"Ways to run it, on the same replies\n{table}\n{meaning}")
        if any(self.cut.values()):
            cut = ", ".join(f"{name}: {number}" for name, number in self.cut.items() if number)
            parts.append(f"Judged on a part of the text: {cut}.")
        if self.lacking is not None:
            parts.append(f"Not worked out: {self.lacking}")
        return "\n\n".join(parts)

    def _by_place(self) -> list[list[Any]]:
        """A line for each place: for each judge the share and how many answers it is of."""
        shares = [
            {
                each.place: f"{each.relevant / each.answers:.3f} of {each.answers}"
                for each in bias.places
                if each.answers
            }
            for bias in self.positions
        ]
        places = sorted({place for share in shares for place in share})
        return [[place, *(share.get(place, "") for share in shares)] for place in places]


def _bias_note(bias: PositionBias) -> str:
    return "biased" if bias.is_biased else ""


def _note(way: Escalation) -> str:
    if way.missing:
        return f"{counted(way.missing, 'answer is', 'answers are')} missing"
    return "best value" if way.on_front else ""


_WHAT_BIAS_MEANS = """\
spread: the largest share called relevant at a place, minus the smallest.
trend: below 0 the first places are called relevant more often, 0 is best.
p: how likely so much is by chance; biased: below 0.01."""
_WHAT_AGREEMENT_MEANS = """\
both answered: candidates that both judged. same label: how many of them alike.
kappa: agreement beyond chance on better against the rest, 1 at best."""
_WHAT_WAYS_MEAN = """\
judged: candidates that each stage judges. tokens: of prompts and replies.
false negatives: how many are found. lost: how many more another way finds."""
_BEST_VALUE = "best value: no other finds as many for fewer tokens."


@expects(judged=Iterable, stages=Sequence)
def judging_report(judged: Iterable[JudgedRow], stages: Sequence[RunStage]) -> JudgingReport:
    """Read all rows of a run once and report on its judges. See the module's text. Kappa and the test of positions
    need the extra `audit`; without it `lacking` says so.

    Example:
            from hf_relabel.builders.cascade.verdicts import stages_of_run

            with Journal("journal.sqlite", write=False) as journal:
                stages = stages_of_run(journal.last_run())
                print(judging_report(judged_rows("train.jsonl", journal), stages).to_text())

    Args:
        judged: as `hf_relabel.builders.cascade.verdicts.judged_rows` gives them.
        stages: of the same run.
    """
    counting = _Counting(stages)
    for row in judged:
        counting.add(row)
    return counting.report()


def member_names(stages: Sequence[RunStage]) -> list[list[str]]:
    """Per stage the names of its judges: the stage's own where it has one judge."""
    return [
        [stage.name] if len(stage.judges) == 1 else [f"{stage.name}{MEMBER_MARK}{name}" for name in stage.judge_names()]
        for stage in stages
    ]


class _Counting:
    def __init__(self, stages: Sequence[RunStage]) -> None:
        self.stages, self.names = stages, member_names(stages)
        self.rows = self.candidates = 0
        self.places: dict[str, Counter[tuple[int, Label]]] = {}
        self.pairs: dict[tuple[str, str], Counter[tuple[Label, Label]]] = {}
        self.cut: Counter[str] = Counter()
        self.ways = [_Way(name, rules, depth) for name, rules, depth in _ways(stages)]

    def add(self, judged: JudgedRow) -> None:
        self.rows += 1
        row = judged.numbered.row
        if not judged.views:
            return
        self.candidates += len(row.negative_passages) - len(judged.findings)
        answers = self._answers(judged)
        for name, said in answers.items():
            for judgement in said.values():
                self.cut[name] += judgement.cut
                if judgement.place is not None and judgement.label.is_answer:
                    self.places.setdefault(name, Counter())[judgement.place, judgement.label] += 1
        for first, second in combinations(answers, 2):
            shared = answers[first].keys() & answers[second].keys()
            found = Counter((answers[first][position].label, answers[second][position].label) for position in shared)
            self.pairs.setdefault((first, second), Counter()).update(found)
        words = [view.word for view in judged.views]
        found_by = [way.add(row, judged.findings, words) for way in self.ways]
        most = max(found_by, key=len, default=set())
        for way, found_here in zip(self.ways, found_by, strict=True):
            way.lost += len(most - found_here)

    def _answers(self, judged: JudgedRow) -> dict[str, Mapping[int, Judgement]]:
        answers: dict[str, Mapping[int, Judgement]] = {}
        for stage, names, view in zip(self.stages, self.names, judged.views, strict=True):
            answers |= dict(zip(names, view.said, strict=True))
            if stage.combine is not None:
                answers[stage.name] = view.word
        return answers

    def report(self) -> JudgingReport:
        lacking = _lacking() if self.places or self.pairs else None
        whole = lacking is None
        ways = [way.result() for way in self.ways]
        return JudgingReport(
            rows=self.rows,
            candidates=self.candidates,
            positions=tuple(_bias(name, counts, tested=whole) for name, counts in self.places.items()),
            agreement=tuple(_agreement(*names, counts, with_kappa=whole) for names, counts in self.pairs.items()),
            escalation=tuple(_with_front(ways)),
            cut={name: number for name, number in self.cut.items() if number},
            lacking=lacking,
        )


@dataclass(slots=True)
class _Way:
    """Adds up what one way of running the cascade would have taken and found."""

    name: str
    rules: Sequence[Rule]
    depth: int
    judged: list[int] = field(default_factory=list)
    tokens: float = 0.0
    found: int = 0
    missing: int = 0
    lost: int = 0

    def add(self, row: Row, findings: Mapping[int, Any], words: Sequence[Mapping[int, Judgement]]) -> set[int]:
        """Returns the positions of the false negatives it finds in this row."""
        self.judged = self.judged or [0] * self.depth
        said: list[dict[int, Judgement]] = []
        for stage, word in enumerate(words[: self.depth]):
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
        return Escalation(self.name, tuple(self.judged), round(self.tokens), self.found, self.missing, self.lost)


def _ways(stages: Sequence[RunStage]) -> list[tuple[str, list[Rule], int]]:
    """The ways to run the stages: each cut short, and each by candidate, by row and by what is called better."""
    ways: list[tuple[str, list[Rule], int]] = []
    for depth in range(1, len(stages) + 1):
        own = [stage.rule for stage in stages[:depth]]
        upto = " > ".join(stage.name for stage in stages[:depth])
        if depth == 1:
            ways.append((f"{upto} alone", own, depth))
            continue
        ways.append((f"{upto}, as it ran", own, depth))
        for name, escalate, passes in (
            ("by candidate", "candidate", RELEVANT),
            ("by row", "row", RELEVANT),
            ("by candidate, better only", "candidate", frozenset({Label.BETTER})),
        ):
            rules = [Rule(escalate, passes) for _ in own]  # type: ignore[arg-type]
            if rules[:-1] != own[:-1]:
                ways.append((f"{upto}, {name}", rules, depth))
    return ways


def _with_front(ways: Sequence[Escalation]) -> list[Escalation]:
    from dataclasses import replace

    whole = [way for way in ways if not way.missing]

    def beaten(way: Escalation) -> bool:
        return any(
            other.tokens <= way.tokens
            and other.false_negatives >= way.false_negatives
            and (other.tokens, other.false_negatives) != (way.tokens, way.false_negatives)
            for other in whole
        )

    return [replace(way, on_front=not way.missing and not beaten(way)) for way in ways]


def _lacking() -> str | None:
    """Why there are no statistics: counts are shown without the extra that they need."""
    try:
        require("audit", what="Kappa and the test of positions")
    except MissingExtra as missing:
        return str(missing)
    return None


def _bias(name: str, counts: Counter[tuple[int, Label]], *, tested: bool) -> PositionBias:
    places = []
    for place in sorted({place for place, _ in counts}):
        better, worse = counts[place, Label.BETTER], counts[place, Label.WORSE]
        places.append(Place(place, better + worse + counts[place, Label.IRRELEVANT], better, better + worse))
    p_value, trend = _tested(places) if tested else (None, None)
    rates = [place.relevant / place.answers for place in places if place.answers >= 20]
    spread = max(rates) - min(rates) if rates else None
    return PositionBias(name, tuple(places), p_value, trend, spread)


def _tested(places: Sequence[Place]) -> tuple[float | None, float | None]:
    """(p of equal rates, correlation of place and relevance), None where all labels are equal or places too few."""
    import numpy as np
    from scipy.stats import chi2_contingency

    # The test needs about 5 expected answers in each cell; the last places of long lists are pooled to get there.
    relevant = sum(place.relevant for place in places)
    answers = sum(place.answers for place in places)
    if not 0 < relevant < answers or len(places) < 2:
        return None, None
    share = min(relevant, answers - relevant) / answers
    cells, pooled = [], [0, 0]
    for place in places:
        pooled = [pooled[0] + place.relevant, pooled[1] + place.answers - place.relevant]
        if sum(pooled) * share >= 5:
            cells.append(pooled)
            pooled = [0, 0]
    if cells and sum(pooled):
        cells[-1] = [cells[-1][0] + pooled[0], cells[-1][1] + pooled[1]]
    p_value = float(chi2_contingency(np.array(cells)).pvalue) if len(cells) > 1 else None
    numbers = np.repeat([place.place for place in places], [place.answers for place in places])
    labels = np.concatenate([np.arange(place.answers) < place.relevant for place in places])
    return p_value, float(np.corrcoef(numbers, labels)[0, 1])


def _agreement(first: str, second: str, counts: Counter[tuple[Label, Label]], *, with_kappa: bool) -> Agreement:
    answers = {pair: number for pair, number in counts.items() if pair[0].is_answer and pair[1].is_answer}
    both = sum(answers.values())
    same = sum(number for (one, other), number in answers.items() if one is other)
    return Agreement(first, second, both, same, _kappa(answers, both) if with_kappa else None)


def _kappa(answers: Mapping[tuple[Label, Label], int], both: int) -> float | None:
    """Cohen's kappa of better against the rest."""
    import warnings

    from sklearn.metrics import cohen_kappa_score

    if not both:
        return None
    table = list(answers.items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined where both only ever say one thing: None says so
        kappa = cohen_kappa_score(
            [one is Label.BETTER for (one, _), _ in table],
            [other is Label.BETTER for (_, other), _ in table],
            labels=[False, True],
            sample_weight=[number for _, number in table],
        )
    return None if kappa != kappa else float(kappa)
