"""What there is to ask: rows, candidates, characters and sampled prompts of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from hf_relabel.builders.cascade.rules import Rule, first_candidates
from hf_relabel.builders.judges.protocols import Ask, BatchJudge, PromptJudge
from hf_relabel.builders.planning.estimating import ROWS_ESCALATED, share_passed_on
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.findings import free_findings
from hf_relabel.builders.sources.samples import RowsDrawn
from hf_relabel.builders.sources.subsets import exempt_of, is_exempt

SAMPLED_PROMPTS = 200
"""Prompts whose tokens are counted."""


@dataclass(frozen=True, slots=True)
class StageToPlan:
    """A judge as planning sees it. Prices are US dollars per million tokens.

    Attributes:
        judge: None for saved replies, which cost nothing.
        rule: how its stage hands over to the next.
        beside: it is asked about the same candidates as the one before it, as another judge of the same stage.
        constrained: whether its servers follow a JSON schema, which shows in the prompts.
    """

    name: str
    judge: PromptJudge | BatchJudge | None
    rule: Rule
    price_prompt: float = 0.0
    price_completion: float = 0.0
    beside: bool = False
    constrained: bool = True


@dataclass(slots=True)
class Usage:
    """What a judge is asked about some rows, and what that took. Tokens are 0 where nobody told them; `texts` are those
    that an offline judge encodes, as often as they are there."""

    rows: float = 0
    candidates: float = 0
    requests: float = 0
    characters: float = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    texts: float = 0

    def times(self, factor: float) -> Usage:
        return Usage(*(factor * value for value in astuple(self)))

    def add_asks(self, asks: Sequence[Ask]) -> None:
        self.requests += len(asks)
        self.characters += sum(ask.request.characters for ask in asks)


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a source finds.

    Attributes:
        rows: all rows.
        candidates: those that the first stage judges.
        stages: one for each judge; of later stages as if they were handed what is assumed.
        sample: rows drawn by a hash of their content, so that their order plays no part; in the order of that hash.
        escalated: the share that was assumed to go on from stage to stage; None for that of the rule.
    """

    rows: int
    candidates: float
    stages: tuple[Usage, ...]
    sample: tuple[NumberedRow, ...]
    escalated: float | None = None

    def drawn(self, rows: int) -> tuple[NumberedRow, ...]:
        """So many rows of the sample, in the order of the source. A larger draw holds every smaller one."""
        return tuple(sorted(self.sample[:rows], key=lambda numbered: numbered.number))

    def scaled(self, rows: int) -> Survey:
        """The same for a source of so many rows like these."""
        factor = rows / self.rows if self.rows else 0.0
        stages = tuple(usage.times(factor) for usage in self.stages)
        return replace(self, rows=rows, candidates=self.candidates * factor, stages=stages)


@dataclass(frozen=True, slots=True)
class TokenSample:
    """Tokens of some prompts of a judge.

    Attributes:
        tokenizer: who counted them.
        characters, tokens: one number per prompt.
    """

    tokenizer: str
    characters: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProbedRow:
    """What a row of the sample took for real.

    Attributes:
        candidates: those that the first stage judges.
        stages: one for each judge.
    """

    candidates: int
    stages: tuple[Usage, ...]


def survey_source(
    source: Source, stages: Sequence[StageToPlan], *, keep: int = 0, seed: int = 0, escalated: float | None = None
) -> Survey:
    """Read a source once: count what each judge would be asked, and draw a sample.

    Args:
        keep: rows in the sample, which are held.
        seed: another one draws other rows.
        escalated: see `plan`.
    """
    exempt = exempt_of(stage.judge for stage in stages)
    rows = candidates = 0
    totals, draws = [Usage() for _ in stages], [_Draws() for _ in stages]
    drawn = RowsDrawn(keep, seed)
    for numbered in source.rows():
        row = numbered.row
        asked = first_candidates_of(row, exempt)
        rows += 1
        candidates += len(asked)
        _add_row(totals, stages, row, asked, draws, escalated)
        drawn.add(numbered)
    return Survey(rows, candidates, tuple(totals), drawn.by_hash(), escalated)


def first_candidates_of(row: Row, exempt: frozenset[str]) -> list[int]:
    """The candidates that the first stage judges; none of a row that is exempt, see `exempt_of`."""
    return [] if is_exempt(row, exempt) else first_candidates(row, free_findings(row))


def asks_of(stage: StageToPlan, row: Row, positions: Sequence[int]) -> list[Ask]:
    """The prompts of a judge about some candidates; none of a judge that asks no server."""
    asks = getattr(stage.judge, "asks", None)
    if asks is None or not positions:
        return []
    found: list[Ask] = asks(row, positions, constrained=stage.constrained)
    return found


def _texts_of(stage: StageToPlan, row: Row, positions: Sequence[int]) -> int:
    """How many texts a judge encodes to judge some candidates."""
    texts = getattr(stage.judge, "texts", None)
    return int(texts(row, positions)) if texts is not None else 0


def _add_row(
    totals: Sequence[Usage],
    stages: Sequence[StageToPlan],
    row: Row,
    asked: list[int],
    draws: Sequence[_Draws],
    escalated: float | None,
) -> None:
    for number, (stage, total) in enumerate(zip(stages, totals, strict=True)):
        if number and not stage.beside:
            asked = _passed_on(asked, stages[number - 1].rule, draws[number], escalated)
        if asked:
            total.rows += 1
            total.candidates += len(asked)
            total.add_asks(asks_of(stage, row, asked))
            total.texts += _texts_of(stage, row, asked)


class _Draws:
    """Numbers from 0 to 1 that are spread evenly however few are drawn: the fractions of multiples of the golden
    ratio. Chance would make small plans differ from what is assumed."""

    def __init__(self) -> None:
        self._drawn = {"rows": 0, "candidates": 0}

    def below(self, share: float, what: str) -> bool:
        self._drawn[what] += 1
        return self._drawn[what] * 0.6180339887498949 % 1 < share


def _passed_on(asked: list[int], rule: Rule, draws: _Draws, escalated: float | None) -> list[int]:
    """What a stage hands over, if it is as assumed. Doubted candidates lie together: not every row has one."""
    share = share_passed_on(rule, escalated)
    if not asked:
        return []
    if rule.escalate == "row":
        return asked if draws.below(share, "rows") else []
    of_rows = max(share, ROWS_ESCALATED)
    if not draws.below(of_rows, "rows"):
        return []
    return [position for position in asked if draws.below(share / of_rows, "candidates")]
