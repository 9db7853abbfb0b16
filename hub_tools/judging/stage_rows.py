"""The rows of a source for one judge of a stage: what it is to be asked about, and the count of what it said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hf_relabel.builders.cascade.rules import Findings, StageAnswers
from hf_relabel.builders.cascade.suspects import Rows
from hf_relabel.builders.cascade.verdicts import RunStage, StageView, in_batches, stage_views
from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources.findings import free_findings
from hf_relabel.builders.sources.subsets import is_exempt
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import (
    Stage,
)


class StageRows:
    """One judge of the last of some stages, over all rows of a source.

    Args:
        run_stages: whom the journal knows the judges of these stages as, and of those after them.
        number: which judge of the stage.
        retry_failed: ask again where there was no answer.
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
    ) -> None:
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
        for batch in in_batches(self.source.rows()):
            rows = [numbered.row for numbered in batch if not is_exempt(numbered.row, self.exempt)]
            self.report.exempt += len(batch) - len(rows)
            found = [(row, free_findings(row)) for row in rows]
            views = stage_views(found, self.run_stages, self.journal)
            self._set_aside([numbered.row for numbered in batch], found, views)
            # For all rows before the first is given away: what was looked up is out of date after that.
            missing = [self._missing(of_row[-1].keys[self.number], of_row[-1].said[self.number]) for of_row in views]
            self.report.rows += len(batch)
            self._show()
            for row, keys in zip(rows, missing, strict=True):
                if keys:
                    yield row, keys
            yield None

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
            if judgement is not None and (judgement.label.is_answer or not self.retry_failed):
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
