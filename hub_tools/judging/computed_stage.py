"""A judge of a stage that needs no server: one that computes, or one that reads replies that were saved."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from hf_relabel.builders.disk.gc_pause import fewer_collections
from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.judges.protocols import BatchJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.rows import Row
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.judging.stage_rows import StageRows
from hf_relabel.hub_tools.judging.stages import (
    is_batch,
)

BATCH_SECONDS = 10.0
"""What a batch of a judge that computes is to take, so that a killed run loses little. Longer rows make it more."""
FIRST_BATCH_ROWS = 4


class BatchPace:
    """How many rows a judge that computes gets at once: so many that what it said is written down every few seconds.

    Args:
        most: rows the judge takes at once.
        clock: seconds from any start.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows, self._most, self._clock = min(most, FIRST_BATCH_ROWS), most, clock

    @contextlib.contextmanager
    def measured(self, rows: int) -> Iterator[None]:
        """Around the work on a batch, which says how large the next one may be: at most twice as large."""
        began = self._clock()
        yield
        seconds = self._clock() - began
        fitting = int(rows * BATCH_SECONDS / seconds) if seconds > 0 else self._most
        self.rows = max(1, min(self._most, 2 * self.rows, fitting))


class ComputedStage(StageRows):
    """A judge that computes, or reads saved replies, at work on the rows of a source."""

    def run(self) -> StageReport:
        """Judge what the journal has no answer for. Ctrl-C is the same clean stop as with a server; the batch in work
        is lost.

        Raises:
            JudgingStopped: interrupted, or the deadline has passed.
        """
        judge = self.member.judge
        try:
            with fewer_collections():
                if isinstance(judge, SavedRepliesJudge):
                    self._read_saved(judge)
                else:
                    assert is_batch(judge), "those that ask are no business of this class"
                    self._compute(judge)
        except KeyboardInterrupt:
            done = counted(self.report.asked, "candidate")
            stopped = JudgingStopped(f"Judging stopped: interrupted ({done} judged in this run).")
            stopped.interrupted = True
            raise stopped from None
        return self.report

    def _compute(self, judge: BatchJudge) -> None:
        batch: list[tuple[Row, dict[int, bytes]]] = []
        pace = BatchPace(judge.batch_rows)
        for item in filter(None, self.needed()):
            batch.append(item)
            if len(batch) >= pace.rows:
                self._check_deadline()
                with pace.measured(len(batch)):
                    self._compute_batch(judge, batch)
                batch = []
        if batch:
            self._compute_batch(judge, batch)
        if isinstance(judge, TruthJudge):
            judge.warn_of_unmatched()

    def _check_deadline(self) -> None:
        deadline = self.member.limits.deadline
        if deadline is not None and self.budget.elapsed > deadline:
            done = counted(self.report.asked, "candidate")
            raise JudgingStopped(
                f"Judging stopped: the deadline of {deadline:g} s has passed ({done} judged in this run)."
            )

    def _compute_batch(self, judge: BatchJudge, batch: Sequence[tuple[Row, dict[int, bytes]]]) -> None:
        results = judge.judge([(row, list(keys)) for row, keys in batch])
        items = [(row, keys, result) for (row, keys), result in zip(batch, results, strict=True)]
        self.journal.record_many(self.identity, items)
        for _, keys, _ in items:
            self.in_flight.difference_update(keys.values())
        self.count(*results)

    def _read_saved(self, judge: SavedRepliesJudge) -> None:
        if self.member.replies is None:
            raise ConfigError(f"Stage {self.report.name!r} reads saved replies and needs a file of them.")
        for numbered, response, finish_reason in self.member.replies.replies():
            row = numbered.row
            self.report.rows += 1
            judgements = judge.judgements(row, response, finish_reason)
            ((keys, found),) = self.journal.known(self.identity, [(row, list(judgements))])
            new = {
                position: judgement
                for position, judgement in judgements.items()
                if (known := found.get(position)) is None or (self.retry_failed and not known.label.is_answer)
            }
            for position in judgements.keys() - new.keys():
                self.report.known += 1
                self.report.known_labels[found[position].label] += 1
            self.report.candidates += len(row.negative_passages)
            self.report.aside["free"] += len(row.negative_passages) - len(judgements)
            if new:
                self.record(row, keys, new, Reply(response, model=self.identity.model, endpoint="saved replies"))
