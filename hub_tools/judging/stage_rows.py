"""The rows of a source for one judge of a stage: what it is to be asked about, and the count of what it said."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan

from hf_relabel.builders.cascade.judged_in_run import StageView, in_batches, stage_views
from hf_relabel.builders.cascade.rules import Findings, StageAnswers
from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.cascade.suspects import Rows
from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources.findings import free_findings
from hf_relabel.builders.sources.subsets import is_exempt
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import (
    Stage,
)
from hf_relabel.hub_tools.judging.value_order import NOTHING, bands, of_band, value_of_row


class StageRows:
    """One judge of the last of some stages, over all rows of a source.

    Args:
        run_stages: whom the journal knows the judges of these stages as, and of those after them.
        number: which judge of the stage.
        retry_failed: ask again where there was no answer.
        by_value: rows where most is likely found come first, see `hf_relabel.hub_tools.judging.value_order`; else they
            come as the source has them.
    """

    def __init__(
        self,
        source: Rows,
        stages: Sequence[Stage],
        run_stages: list[RunStage],
        number: int,
        journal: Journal,
        *,
        exempt: frozenset[str],
        retry_failed: bool,
        progress: Progress | None,
        budget: Budget | None = None,
        by_value: bool = False,
    ) -> None:
        self.by_value = by_value and len(stages) > 1  # nobody has said anything before the first
        self.source, self.journal = source, journal
        self.number, self.all_run_stages, self.last = number, run_stages, len(stages) - 1
        self.member, self.identity = stages[-1].members[number], run_stages[self.last].judges[number]
        self.exempt, self.retry_failed, self.progress = exempt, retry_failed, progress
        self.budget = budget or Budget()
        name = stages[-1].name if not stages[-1].others else f"{stages[-1].name} #{number + 1}"
        self.report = StageReport(name, self.identity.describe())
        self.in_flight: set[bytes] = set()
        self.counted_before: set[bytes] = set()

    @property
    def run_stages(self) -> Sequence[RunStage]:
        """Whom the journal knows the judges of these stages as."""
        return self.all_run_stages[: self.last + 1]

    def needed(self) -> Iterator[tuple[Row, dict[int, bytes]] | None]:
        """Rows with the candidates this stage has no answer for, with their keys by position. Now and then None: to
        skip what is known takes long, and others want to do something meanwhile.

        The keys are in flight from then on, until their answers are written down.
        """
        if not self.by_value:
            yield from self._needed_of(self.source.rows())
            return
        values = array("f")
        for batch in in_batches(self.source.rows()):
            values.extend(self._valued(batch))
            yield None
        for band in bands(values):
            yield from self._needed_of(of_band(self.source.rows(), values, band))

    def _needed_of(self, rows: Iterable[NumberedRow]) -> Iterator[tuple[Row, dict[int, bytes]] | None]:
        for batch in in_batches(rows):
            found, views = self._looked_up(batch)
            missing = self._taken([numbered.row for numbered in batch], found, views)
            for (row, _), keys in zip(found, missing, strict=True):
                if keys:
                    yield row, keys
            yield None

    def _looked_up(self, batch: Sequence[NumberedRow]) -> tuple[list[tuple[Row, Findings]], list[list[StageView]]]:
        """The rows that are judged, each with its free findings and with what is known of it."""
        rows = [numbered.row for numbered in batch if not is_exempt(numbered.row, self.exempt)]
        found: list[tuple[Row, Findings]] = [(row, free_findings(row)) for row in rows]
        return found, stage_views(found, self.run_stages, self.journal)

    def _taken(
        self, batch: Sequence[Row], found: Sequence[tuple[Row, Findings]], views: Sequence[Sequence[StageView]]
    ) -> list[dict[int, bytes]]:
        """Count some rows, and take the candidates that are left to ask about."""
        self.report.exempt += len(batch) - len(found)
        self._set_aside(batch, found, views)
        # For all rows before the first is given away: what was looked up is out of date after that.
        missing = [self._missing(of_row[-1].keys[self.number], of_row[-1].said[self.number]) for of_row in views]
        self.report.rows += len(batch)
        self._show()
        return missing

    def _valued(self, batch: Sequence[NumberedRow]) -> list[float]:
        """The value of each row. Those about which nothing is left to ask are counted here, the others when they are
        asked about."""
        found, views = self._looked_up(batch)
        worth = [value_of_row(self._left(of_row[-1]), of_row[-2].word) for of_row in views]
        asked = iter(worth)
        values = [NOTHING if is_exempt(numbered.row, self.exempt) else next(asked) for numbered in batch]
        settled = [number for number, value in enumerate(worth) if isnan(value)]
        rows = [numbered.row for numbered, value in zip(batch, values, strict=True) if isnan(value)]
        self._taken(rows, [found[number] for number in settled], [views[number] for number in settled])
        return values

    def _left(self, view: StageView) -> list[int]:
        known = view.said[self.number]
        return [
            position
            for position, key in view.keys[self.number].items()
            if key not in self.counted_before and not self._stands(known.get(position))
        ]

    def _stands(self, judgement: Judgement | None) -> bool:
        """Whether it needs no other answer."""
        return judgement is not None and (judgement.label.is_answer or not self.retry_failed)

    def _set_aside(
        self, batch: Sequence[Row], found: Sequence[tuple[Row, Findings]], views: Sequence[Sequence[StageView]]
    ) -> None:
        """Count the candidates of some rows, and those that this judge is not asked about."""
        aside, candidates = self.report.aside, sum(len(row.negative_passages) for row in batch)
        here = sum(len(row.negative_passages) for row, _ in found)
        free, asked = sum(len(of_row) for _, of_row in found), sum(len(view[-1].keys[self.number]) for view in views)
        self.report.candidates += candidates
        aside["exempt"] += candidates - here
        aside["free"] += free
        aside["settled"] += here - free - asked

    def _missing(self, asked: Mapping[int, bytes], known: StageAnswers) -> dict[int, bytes]:
        keys: dict[int, bytes] = {}
        for position, key in asked.items():
            judgement = known.get(position)
            if key in self.counted_before:
                continue  # counted when it was
            if judgement is not None and self._stands(judgement):
                self.report.known += 1
                self.report.known_labels[judgement.label] += 1
                self.report.unknown += judgement.is_unknown
            elif key not in self.in_flight:
                # The same text twice, in this row or in another, is asked once.
                keys[position] = key
                self.in_flight.add(key)
            else:
                self.report.aside["repeated"] += 1
        return keys

    def record(
        self, row: Row, keys: Mapping[int, bytes], judgements: Mapping[int, Judgement], reply: Reply | None
    ) -> None:
        self.journal.record(self.identity, row, keys, judgements, reply)
        self.count(judgements)

    def count(self, *of_rows: Mapping[int, Judgement]) -> None:
        """Count what was written down in one go, and tell of it once: of a burst only the first would be seen."""
        for judgements in of_rows:
            for judgement in judgements.values():
                self.report.labels[judgement.label] += 1
                self.report.cut += judgement.cut
                self.report.unknown += judgement.is_unknown
            self.report.asked += len(judgements)
        self._show()

    def _show(self) -> None:
        if self.progress is not None:
            self.progress(self.report)
