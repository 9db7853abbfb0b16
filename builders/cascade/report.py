"""What a journal says of the judging itself: bias of position, agreement, and what each escalation rule costs.

All of it is worked out offline from the judgements of one run, on the same replies.

- Positions: how often a judge of lists calls the candidate at each place of its prompt relevant, and how often it would
  if places played no part. See hf_relabel.builders.cascade.positions.
- Agreement: Cohen's kappa between the judges of a stage and between stages, on the candidates that both answered for.
- Escalation: for each rule, the tokens it would have taken and the false negatives it would have found. What a cheap
  judge calls relevant is no find until the judge that decides says so, so ways are compared only with those in which
  the same stages have the last word. A rule that needs an answer that the journal does not have is not compared, and it
  is said how many are missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from hf_relabel.builders.cascade.judge_weights import MEMBER_MARK
from hf_relabel.builders.cascade.judged_in_run import JudgedRow
from hf_relabel.builders.cascade.positions import PlaceCounts, PositionBias
from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.cascade.ways import Escalation, compared, ways_of
from hf_relabel.builders.errors import MissingExtra
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import require
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judges on the candidates that both answered for. Kappa is of better against the rest; None if undefined."""

    first: str
    second: str
    both: int
    same_label: int
    kappa: float | None


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
            lines = [
                [bias.judge, bias.spread, bias.trend, bias.p_value, "biased" if bias.is_biased else ""]
                for bias in self.positions
            ]
            header = ["judge of lists", "spread", "trend", "p", "note"]
            table = text_table(lines, header, floatfmt=".3f")
            parts.append(f"Bias of position\n{table}\n{_WHAT_BIAS_MEANS}")
            header = ["place", *(bias.judge for bias in self.positions)]
            parts.append(
                "Share called relevant, by place in the prompt (expected)\n" + text_table(self._by_place(), header)
            )
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
                each.place: f"{each.relevant / each.answers:.3f} of {each.answers} ({each.expected / each.answers:.3f})"
                for each in bias.places
            }
            for bias in self.positions
        ]
        places = sorted({place for share in shares for place in share})
        return [[place, *(share.get(place, "") for share in shares)] for place in places]


def _note(way: Escalation) -> str:
    if way.missing:
        return f"{counted(way.missing, 'answer is', 'answers are')} missing"
    return "best value" if way.on_front else ""


_WHAT_BIAS_MEANS = """\
expected: if places played no part, each prompt with what is relevant in it.
spread: share called relevant beyond that, at its largest minus its smallest.
trend: below 0 the first places are called relevant more often, 0 is best.
p: how likely so much is by chance; biased: below 0.01."""
_WHAT_AGREEMENT_MEANS = """\
both answered: candidates that both judged. same label: how many of them alike.
kappa: agreement beyond chance on better against the rest, 1 at best."""
_WHAT_WAYS_MEAN = """\
judged: candidates that each stage judges. tokens: of prompts and replies.
false negatives: how many are found. lost: how many that are found by others
that leave the last word to the same stages, and not by this."""
_BEST_VALUE = "best value: no other of those finds as many for fewer tokens."


@expects(judged=Iterable, stages=Sequence)
def judging_report(judged: Iterable[JudgedRow], stages: Sequence[RunStage]) -> JudgingReport:
    """Read all rows of a run once and report on its judges. See the module's text. Kappa and the test of positions
    need the extra `audit`; without it `lacking` says so.

    Example:
            from hf_relabel.builders.cascade.run_stages import stages_of_run

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
        self.places: dict[str, PlaceCounts] = {}
        self.pairs: dict[tuple[str, str], Counter[tuple[Label, Label]]] = {}
        self.cut: Counter[str] = Counter()
        self.ways = list(ways_of(stages))

    def add(self, judged: JudgedRow) -> None:
        self.rows += 1
        row = judged.numbered.row
        if not judged.views:
            return
        self.candidates += len(row.negative_passages) - len(judged.findings)
        answers = self._answers(judged)
        for name, said in answers.items():
            self.cut[name] += sum(judgement.cut for judgement in said.values())
            self.places.setdefault(name, PlaceCounts()).add_row(said)
        for first, second in combinations(answers, 2):
            shared = answers[first].keys() & answers[second].keys()
            found = Counter((answers[first][position].label, answers[second][position].label) for position in shared)
            self.pairs.setdefault((first, second), Counter()).update(found)
        words = [view.word for view in judged.views]
        found_by = [way.add(row, judged.findings, words) for way in self.ways]
        found_by_any: dict[tuple[str, ...], set[int]] = {}
        for way, found_here in zip(self.ways, found_by, strict=True):
            found_by_any.setdefault(way.decided_by, set()).update(found_here)
        for way, found_here in zip(self.ways, found_by, strict=True):
            way.lost += len(found_by_any[way.decided_by] - found_here)

    def _answers(self, judged: JudgedRow) -> dict[str, Mapping[int, Judgement]]:
        answers: dict[str, Mapping[int, Judgement]] = {}
        for stage, names, view in zip(self.stages, self.names, judged.views, strict=True):
            answers |= dict(zip(names, view.said, strict=True))
            if stage.combine is not None:
                answers[stage.name] = view.word
        return answers

    def report(self) -> JudgingReport:
        lacking = _lacking() if self.pairs or any(counts.prompts for counts in self.places.values()) else None
        whole = lacking is None
        ways = [way.result() for way in self.ways]
        return JudgingReport(
            rows=self.rows,
            candidates=self.candidates,
            positions=tuple(
                counts.result(name, tested=whole) for name, counts in self.places.items() if counts.prompts
            ),
            agreement=tuple(_agreement(*names, counts, with_kappa=whole) for names, counts in self.pairs.items()),
            escalation=tuple(compared(ways)),
            cut={name: number for name, number in self.cut.items() if number},
            lacking=lacking,
        )


def _lacking() -> str | None:
    """Why there are no statistics: counts are shown without the extra that they need."""
    try:
        require("audit", what="Kappa and the test of positions")
    except MissingExtra as missing:
        return str(missing)
    return None


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
